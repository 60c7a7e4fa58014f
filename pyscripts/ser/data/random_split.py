"""Splitting blocks at random into test, training and validation, and what such a split leaks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from fractions import Fraction

import numpy as np

from ser.base.errors import SerError
from ser.data.segments import utterance_of

_TEST_SHARE = Fraction(1, 5)


def split_at_random(blocks: Collection[str], folds: int, seed: int) -> tuple[list[str], list[list[str]]]:
    """Hold out a fifth of the blocks, rounded up, and cut the others into validation sets, whatever they are cut from.

    A pure function of ids, number of folds and seed.

    Returns:
        The test set, and the `folds` validation sets, which together are all others; each sorted.

    Raises:
        SerError: there are fewer than two folds, or too few blocks for them.
    """
    ordered = sorted(blocks)
    test = math.ceil(_TEST_SHARE * len(ordered))
    if not 2 <= folds <= len(ordered) - test:
        raise SerError(f"{folds} folds of {len(ordered) - test} blocks: at least 2, and a block for each")
    shuffled = [ordered[index] for index in np.random.default_rng(seed).permutation(len(ordered))]
    parts = np.array_split(np.arange(test, len(ordered)), folds)
    return sorted(shuffled[:test]), [sorted(shuffled[index] for index in part) for part in parts]


def leak(test: Mapping[str, str], train: Mapping[str, str]) -> tuple[float, float]:
    """Return the shares of test blocks that share an utterance, and a speaker, with training.

    Args:
        test, train: speaker of each block (`utt2spk`).
    """
    utterances, speakers = set(map(utterance_of, train)), set(train.values())
    return (sum(utterance_of(block) in utterances for block in test) / len(test),
            sum(speaker in speakers for speaker in test.values()) / len(test))
