"""Figures of a classification, computed from confusion counts.

Confusion counts are (..., C, C) for C classes: rows the reference, columns the hypothesis. All figures are fractions
from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ser.base.errors import SerError
from ser.base.words import some


@dataclass(frozen=True)
class Measure:
    """One figure of a whole test set, the higher the better; call it with counts (..., C, C) to get (...).

    `title` is how running text has it.
    """

    title: str
    function: Callable[[np.ndarray], np.ndarray]

    def __call__(self, confusion: np.ndarray) -> np.ndarray:
        return self.function(np.asarray(confusion))

    @property
    def heading(self) -> str:
        """The title as a column has it."""
        return self.title[0].upper() + self.title[1:]


def weighted_f1(confusion: np.ndarray) -> np.ndarray:
    """Average the F1 of the classes, weighted by their number of references."""
    support, chosen, correct = _margins(confusion)
    return (support * _ratio(2 * correct, support + chosen)).sum(axis=-1) / support.sum(axis=-1)


def weighted_precision(confusion: np.ndarray) -> np.ndarray:
    """Average the precision of the classes, weighted by their number of references."""
    support, chosen, correct = _margins(confusion)
    return (support * _ratio(correct, chosen)).sum(axis=-1) / support.sum(axis=-1)


def weighted_recall(confusion: np.ndarray) -> np.ndarray:
    """Average the recall of the classes, weighted by their number of references, which makes it the accuracy."""
    support, _, correct = _margins(confusion)
    return (support * _ratio(correct, support)).sum(axis=-1) / support.sum(axis=-1)


def uar(confusion: np.ndarray) -> np.ndarray:
    """Average the recall of the classes that occur in the reference (unweighted average recall)."""
    support, _, correct = _margins(confusion)
    return _ratio(correct, support).sum(axis=-1) / (support > 0).sum(axis=-1)


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Return the share of right answers."""
    support, _, correct = _margins(confusion)
    return correct.sum(axis=-1) / support.sum(axis=-1)


# What can select the best epoch; score.json, tables and CSV files show every one.
MEASURES = {
    "weighted_f1": Measure("weighted F1", weighted_f1),
    "uar": Measure("UAR", uar),
    "accuracy": Measure("accuracy", accuracy),
}


def count_confusion(reference: np.ndarray, hypothesis: np.ndarray, classes: int) -> np.ndarray:
    """Count pairs of class indices (N,) into confusion counts (C, C), int64."""
    return np.bincount(reference * classes + hypothesis, minlength=classes**2).reshape(classes, classes)


def metrics(reference: Sequence[str], hypothesis: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """Compare N recognised classes with the right ones; the result is what `score.json` holds of them.

    Returns:
        Every measure of `MEASURES`, `per_class` (class to `precision`, `recall`, `f1`, `support`; 0 where nothing can
        be divided) and `confusion`, the counts as nested lists in the order of `classes`.

    Raises:
        SerError: no utterances, lists of different lengths, or a label that is not one of `classes`.
    """
    if not len(reference) or len(reference) != len(hypothesis):
        raise SerError(f"cannot score {len(hypothesis)} hypotheses against {len(reference)} references")
    if unknown := sorted((set(reference) | set(hypothesis)) - set(classes)):
        raise SerError(f"labels {some(unknown)} are not among the classes {' '.join(classes)}; check utt2emo")
    index = {name: number for number, name in enumerate(classes)}
    indices = (np.array([index[name] for name in names]) for names in (reference, hypothesis))
    confusion = count_confusion(*indices, len(classes))
    support, chosen, correct = _margins(confusion)
    columns = (_ratio(correct, chosen), _ratio(correct, support), _ratio(2 * correct, support + chosen), support)
    return {
        **{name: float(measure(confusion)) for name, measure in MEASURES.items()},
        "per_class": {
            name: dict(zip(("precision", "recall", "f1", "support"), row, strict=True))
            for name, *row in zip(classes, *(column.tolist() for column in columns), strict=True)
        },
        "confusion": confusion.tolist(),
    }


def _margins(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often each class (..., C) is the reference, the hypothesis, and both."""
    return confusion.sum(axis=-1), confusion.sum(axis=-2), np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(count: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Divide element by element; 0 where the total is 0."""
    return count / np.maximum(total, 1)
