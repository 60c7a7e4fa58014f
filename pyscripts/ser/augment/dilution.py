"""The diluted test: every utterance of a test set joined to a neutral one of its speaker, under its own label.

CopyPaste (Pappagari et al., ICASSP 2021) supposes that a speaker who is angry for three seconds of ten sounds angry;
this asks a network whether it hears that. Neutral utterances are joined to another neutral one as well, so that length
tells nothing about the label. What is joined to what, and in which order, is drawn from the ids alone.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ser.augment.copypaste import KINDS, BatchPlan

DILUTED_TEST = "test_diluted"  # the name of this test set
_SEED = 0  # of every diluted test, whatever a training's is


@dataclass(frozen=True)
class Dilution:
    """A diluted test set of B examples.

    Attributes:
        plan: the examples as a batch, each of two whole utterances in the order in which they are heard.
        examples: (B,) ascending indices of the utterances that the examples are named after and have the labels of.
        left_out: indices of the other utterances, whose speakers have fewer than two neutral ones, or which would be
            too long.
    """

    plan: BatchPlan
    examples: np.ndarray
    left_out: np.ndarray


def dilute(
    utterances: Sequence[str],
    speakers: Sequence[str],
    labels: np.ndarray,
    lengths: np.ndarray,
    neutral: int,
    longest: float = np.inf,
) -> Dilution:
    """Plan the diluted test of N utterances.

    Args:
        utterances, speakers: ids; what an utterance is joined to does not depend on the order of the utterances.
        labels: (N,) class indices.
        lengths: (N,) rows of each utterance.
        neutral: class index of neutral.
        longest: rows that an example may have.
    """
    neutral_of: dict[str, list[int]] = defaultdict(list)
    for index in sorted(range(len(utterances)), key=lambda index: utterances[index].encode()):
        if labels[index] == neutral:
            neutral_of[speakers[index]].append(index)
    kept = np.array([len(neutral_of[speaker]) > 1 for speaker in speakers], bool)
    examples = np.flatnonzero(kept)
    pairs = np.empty((len(examples), 2), np.int64)
    for row, index in enumerate(examples):
        others = [other for other in neutral_of[speakers[index]] if other != index]
        drawn = int.from_bytes(hashlib.sha256(f"{_SEED} {utterances[index]}".encode()).digest()[:8], "big")
        choice, neutral_first = divmod(drawn, 2)
        pairs[row] = index, others[choice % len(others)]
        if neutral_first:
            pairs[row] = pairs[row, ::-1]
    fits = np.asarray(lengths)[pairs].sum(1) <= longest
    kept[examples[~fits]] = False
    pairs, examples = pairs[fits], examples[fits]
    frames, nothing = np.asarray(lengths, np.int64)[pairs], np.zeros_like(pairs)
    kinds = np.full(len(examples), KINDS.index("n-cp"))
    plan = BatchPlan("n-cp", pairs, nothing, frames, nothing, frames, np.asarray(labels)[examples], kinds)
    return Dilution(plan, examples, np.flatnonzero(~kept))
