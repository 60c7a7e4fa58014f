"""Confidence intervals and tests of weighted F1, by resampling speakers.

Utterances of one speaker are not independent, so whole speakers are drawn or exchanged. Confusion counts are
(..., S, C, C): S speakers, C classes, rows the reference. An axis before S holds runs of one condition; statistics are
means over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ser.scoring.metrics import weighted_f1

RESAMPLES = 10_000
_SEED = 0
_EXACT_SPEAKERS = 14  # up to here all 2**S exchanges are tried instead of a sample
_BLOCK_ENTRIES = 4_000_000  # entries of one block of resampling weights: 32 MB


def bootstrap_f1(counts: np.ndarray) -> np.ndarray:
    """Return the weighted F1 of `RESAMPLES` bootstrap samples of the speakers, as (RESAMPLES, ...).

    Speakers are drawn with replacement, the same ones for everything before the S axis, so that differences of
    conditions stacked there are paired. Method: B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993,
    ch. 13; speakers as the unit in speech: M. Bisani and H. Ney, ICASSP 2004.
    """
    *leading, speakers, classes, _ = counts.shape
    flat = np.moveaxis(counts, -3, 0).reshape(speakers, -1).astype(np.float64)
    generator = np.random.default_rng(_SEED)
    shares = np.full(speakers, 1 / speakers)

    def draw(rows: int) -> np.ndarray:
        return generator.multinomial(speakers, shares, size=rows)

    return np.concatenate([
        weighted_f1((weights @ flat).reshape(-1, *leading, classes, classes))
        for weights in _blocks(draw, RESAMPLES, speakers)
    ])


def interval(samples: np.ndarray) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percentiles of bootstrap samples, a 95 % percentile interval."""
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(low), float(high)


def randomisation_p(counts: np.ndarray, baseline: np.ndarray) -> float:
    """Return the two-sided p of the difference in weighted F1 of two conditions tested on the same utterances.

    If the conditions do not differ, exchanging their outputs for any speaker changes nothing; p is the share of
    exchanges whose difference is at least as large as the one found. With up to 14 speakers all exchanges are tried
    and p is exact; with more, `RESAMPLES` random ones, and the one found is counted among them. Unlike McNemar's, this
    test is about the reported measure and does not take utterances of one speaker for independent; unlike a bootstrap
    it proves nothing from few speakers: with S of them, p is at least 2 / 2**S.
    Method: approximate randomisation, E. Noreen, Computer-Intensive Methods for Testing Hypotheses, 1989, and
    A. Yeh, COLING 2000; (count + 1) / (samples + 1): A. Davison and D. Hinkley, Bootstrap Methods, 1997, §4.2.

    Args:
        counts, baseline: (runs, S, C, C), run for run and speaker for speaker on the same utterances.
    """
    runs, speakers, classes, _ = counts.shape
    one, other = (np.moveaxis(array, 1, 0).reshape(speakers, -1).astype(np.float64) for array in (counts, baseline))
    total = (one + other).sum(axis=0)

    def difference(exchanged: np.ndarray) -> np.ndarray:
        first = one.sum(axis=0) + exchanged @ (other - one)
        shape = (-1, runs, classes, classes)
        return (weighted_f1(first.reshape(shape)) - weighted_f1((total - first).reshape(shape))).mean(axis=1)

    exact = speakers <= _EXACT_SPEAKERS
    if exact:
        samples = 2**speakers
        numbers = iter(range(samples))

        def draw(rows: int) -> np.ndarray:
            block = np.fromiter((next(numbers) for _ in range(rows)), dtype=np.int64)
            return (block[:, None] >> np.arange(speakers)) & 1
    else:
        samples = RESAMPLES
        generator = np.random.default_rng(_SEED)

        def draw(rows: int) -> np.ndarray:
            return generator.integers(0, 2, size=(rows, speakers))

    found = abs(difference(np.zeros((1, speakers)))[0]) - 1e-12  # equal up to rounding counts as equal
    extreme = sum(int((abs(difference(block)) >= found).sum()) for block in _blocks(draw, samples, speakers))
    return extreme / samples if exact else (extreme + 1) / (samples + 1)


def _blocks(draw: Callable[[int], np.ndarray], rows: int, speakers: int) -> Iterator[np.ndarray]:
    """Yield `rows` rows of `draw` in blocks that fit in memory however many speakers there are."""
    size = max(1, _BLOCK_ENTRIES // speakers)
    for start in range(0, rows, size):
        yield draw(min(size, rows - start))
