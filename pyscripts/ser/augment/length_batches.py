"""Batches of whole utterances of like lengths, as plans: padding to the longest then costs little."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ser.augment.copypaste import KINDS, BatchPlan
from ser.base.errors import SerError

_SORTED = 16  # batches whose utterances are put in order of length together


class LengthBatches:
    """Plan the batches of every epoch of a training on whole utterances; a pure function of lengths, seed and epoch.

    Args:
        lengths: (N,) frames of each utterance.
        batch_size: the most utterances that a batch may have.
        seed: of the training.
        longest: utterances of more frames are left out; 0: none is.

    Attributes:
        utterances: (n,) indices of those that are trained on.

    Raises:
        SerError: none is left.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, longest: int = 0) -> None:
        self.lengths, self.seed = np.asarray(lengths, np.int64), seed
        self.utterances = np.flatnonzero((self.lengths > 0) & ((self.lengths <= longest) | (longest == 0)))
        if len(self.utterances) == 0:
            raise SerError(f"longest: no utterance has {longest} frames or fewer; raise it, or give 0 for all")
        self.batches_per_epoch = -(-len(self.utterances) // batch_size)

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[BatchPlan]:
        """Yield the batches of an epoch, from `first_batch` on; each utterance is in exactly one."""
        random, count = np.random.default_rng([self.seed, epoch]), self.batches_per_epoch
        order = random.permutation(self.utterances)
        window = _SORTED * -(-len(order) // count)
        for begin in range(0, len(order), window):
            order[begin : begin + window] = sorted(order[begin : begin + window], key=lambda each: self.lengths[each])
        batches = np.array_split(order, count)
        for number in random.permutation(count)[first_batch:]:
            yield self.plan(batches[number])

    def plan(self, utterances: np.ndarray) -> BatchPlan:
        """Return a batch of these utterances, (B,), whole."""
        nothing = np.zeros_like(utterances)
        parts, none = np.stack([utterances, nothing - 1], 1), np.stack([nothing, nothing], 1)
        frames = np.stack([self.lengths[utterances], nothing], 1)
        return BatchPlan(KINDS[0], parts, none, frames, none, frames, nothing, nothing)
