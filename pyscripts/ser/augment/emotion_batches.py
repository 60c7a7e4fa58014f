"""Batches with pieces of one length, as many of each emotion: what emotional voice conversion is trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ser.augment.copypaste import BatchPlan, CopyPaste


class EmotionBatches(CopyPaste):
    """Plan the batches of every epoch; a pure function of labels, lengths, seed and epoch.

    The examples of a batch are in the order of their labels. An epoch has every utterance of the most frequent emotion
    once, or about so, and those of others several times. Utterances shorter than a piece are repeated.

    Args:
        labels: (N,) emotion of each utterance, from 0; each occurs.
        lengths: (N,) frames of each.
        batch_size: pieces of each emotion in a batch.
        crop: frames of a piece.
        seed: of the training.
    """

    def __init__(self, labels: np.ndarray, lengths: np.ndarray, batch_size: int, crop: int, seed: int) -> None:
        super().__init__(labels, lengths, "none", None, batch_size, crop, "repeat", seed)
        self.members = [np.flatnonzero(self.labels == label) for label in range(self.labels.max() + 1)]

    @property
    def batches_per_epoch(self) -> int:
        return -(-max(map(len, self.members)) // self.batch_size)

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[BatchPlan]:
        """Yield the batches of an epoch, from `first_batch` on."""
        random, size = np.random.default_rng([self.seed, epoch]), self.batch_size
        wanted = self.batches_per_epoch * size
        orders = [np.concatenate([random.permutation(each) for _ in range(-(-wanted // len(each)))])
                  for each in self.members]
        for number in range(first_batch, self.batches_per_epoch):
            chosen = np.concatenate([order[number * size : (number + 1) * size] for order in orders])
            yield self._batch(chosen, 0, self._random_of_batch(epoch, number))
