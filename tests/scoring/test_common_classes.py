"""Posteriors of a network over the classes that it has in common with another corpus."""

from __future__ import annotations

import numpy as np
import pytest

from ser.base.errors import SerError
from ser.scoring.common_classes import common_classes, over_common_classes


def test_posteriors_are_those_given_that_a_common_class_is_right() -> None:
    of_network, of_corpus = ["angry", "happy", "sad"], ["angry", "fearful", "sad"]
    found = over_common_classes(np.array([[0.2, 0.5, 0.3], [0, 1, 0]], np.float32), of_network, of_corpus)
    assert np.allclose(found, [[0.4, 0, 0.6], [0.5, 0, 0.5]], atol=1e-7)  # Bayes; nothing known: uniform
    same = np.random.default_rng(0).dirichlet(np.ones(3), 5)
    assert np.allclose(over_common_classes(same, of_network, of_network), same, rtol=1e-12)
    assert np.allclose(over_common_classes(same, of_network, ["sad", "happy", "angry"]), same[:, ::-1], rtol=1e-12)


@pytest.mark.parametrize("of_corpus, message", [
    (["calm", "joyful"], "have none in common"), (["angry", "calm"], "have angry alone in common"),
])
def test_a_choice_needs_two(of_corpus: list[str], message: str) -> None:
    with pytest.raises(SerError, match=message):
        common_classes(["angry", "happy"], of_corpus)
