"""Batches with as many pieces of each emotion."""

from __future__ import annotations

import numpy as np

from ser.augment.emotion_batches import EmotionBatches

LABELS = np.array([0, 1, 1, 2, 2, 2, 2, 2])
LENGTHS = np.array([300, 90, 200, 128, 129, 150, 160, 1000])


def test_each_batch_has_as_many_of_each_emotion_and_an_epoch_has_all() -> None:
    plans = list(EmotionBatches(LABELS, LENGTHS, 2, 128, 0).epoch(1))
    assert len(plans) == 3
    for plan in plans:
        assert plan.labels.tolist() == [0, 0, 1, 1, 2, 2] and (plan.filled.sum(1) == 128).all()
        assert (plan.first[:, 0] + plan.frames[:, 0] <= LENGTHS[plan.utterances[:, 0]]).all()
    assert set(np.concatenate([plan.utterances[:, 0] for plan in plans])) == set(range(8))


def test_an_epoch_can_be_taken_up_and_another_one_differs() -> None:
    whole, again, other = (list(EmotionBatches(LABELS, LENGTHS, 1, 64, 3).epoch(epoch, first))
                           for epoch, first in ((1, 0), (1, 2), (2, 0)))
    for one, two in zip(whole[2:], again, strict=True):
        assert np.array_equal(one.utterances, two.utterances) and np.array_equal(one.first, two.first)
    assert any(not np.array_equal(one.first, two.first) for one, two in zip(whole, other, strict=True))
