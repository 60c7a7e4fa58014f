"""What the scores of an experiment folder say: cells, each all runs of one condition on one test set."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ser.augment.copypaste import SCHEMES
from ser.scoring.metrics import weighted_f1
from ser.scoring.significance import bootstrap_f1, interval, randomisation_p

TRAIN_DATA = {"clean": "Clean", "clean+noise": "Clean+Noise"}  # titles; other training data go by their names

RunKey = tuple[int | None, int]  # fold, seed


@dataclass(frozen=True)
class Condition:
    """What the runs of a cell have in common.

    `model` is `<features>-<network>`. All conditions that differ in nothing but the scheme make one row of a table; the
    one with scheme none stands for the row.
    """

    model: str
    train_data: str
    scheme: str
    init: str
    tag: str = ""

    @property
    def name(self) -> str:
        return "_".join(filter(None, (self.model, self.train_data, self.scheme, self.init, self.tag)))

    @property
    def features(self) -> str:
        return self.model.rpartition("-")[0]

    def of_scheme(self, scheme: str) -> Condition:
        """Return the condition of another scheme in the same row."""
        return replace(self, scheme=scheme)

    @classmethod
    def parse(cls, name: str) -> Condition | None:
        """Return the condition that a folder name spells, or None if it spells none."""
        parts = name.split("_", 4)
        if len(parts) < 4 or not all(parts) or parts[2] not in SCHEMES or not all(parts[0].rpartition("-")):
            return None
        return cls(*parts)

    def order(self) -> tuple[Any, ...]:
        """Return the sorting key of the tables' order."""
        known = list(TRAIN_DATA)
        data = known.index(self.train_data) if self.train_data in known else len(known)
        return self.model, data, self.train_data, self.init, self.tag, list(SCHEMES).index(self.scheme)


@dataclass(frozen=True)
class RunScore:
    """One run on one test set: its `score.json` and, for S speakers, confusion counts `counts` (S, C, C)."""

    folder: Path
    record: dict[str, Any]
    speakers: tuple[str, ...]
    counts: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A figure of a cell in per cent: mean over seeds (of means over folds) and sample standard deviation over seeds.

    `mean` is None where there is no run, `std` where there is only one seed or runs are missing.
    """

    mean: float | None
    std: float | None
    runs: int
    expected: int

    @property
    def complete(self) -> bool:
        return self.runs == self.expected

    def text(self, digits: int = 1) -> str:
        """Return `61.2 ± 0.5`, `61.2 (2/3 runs)*` where runs are missing, or a dash where all are."""
        if self.mean is None:
            return "—"
        if not self.complete:
            return f"{self.mean:.{digits}f} ({self.runs}/{self.expected} runs)*"
        return f"{self.mean:.{digits}f}" + (f" ± {self.std:.{digits}f}" if self.std is not None else "")


@dataclass(frozen=True)
class Cell:
    """The runs of one condition on one test set that were found, out of those expected."""

    scores: Mapping[RunKey, RunScore]
    expected: tuple[RunKey, ...]

    @property
    def complete(self) -> bool:
        return len(self.scores) == len(self.expected)

    @property
    def missing(self) -> list[RunKey]:
        return [key for key in self.expected if key not in self.scores]

    def estimate(self, figure: Callable[[dict[str, Any]], float]) -> Estimate:
        """Aggregate one figure of `score.json` (a fraction) over the runs."""
        by_seed: dict[int, list[float]] = {}
        for (_, seed), score in self.scores.items():
            by_seed.setdefault(seed, []).append(100 * figure(score.record))
        seeds = [float(np.mean(values)) for values in by_seed.values()]
        return Estimate(
            mean=float(np.mean(seeds)) if seeds else None,
            std=float(np.std(seeds, ddof=1)) if len(seeds) > 1 and self.complete else None,
            runs=len(self.scores), expected=len(self.expected),
        )

    def confusion(self) -> np.ndarray:
        """Counts (C, C) summed over all runs found."""
        return np.sum([score.counts.sum(axis=0) for score in self.scores.values()], axis=0)

    def pooled(self) -> np.ndarray:
        """Counts (seeds, S, C, C): the folds of a seed pooled, speakers sorted. For complete cells."""
        speakers = sorted({speaker for score in self.scores.values() for speaker in score.speakers})
        row = {speaker: number for number, speaker in enumerate(speakers)}
        seeds = sorted({seed for _, seed in self.scores})
        classes = next(iter(self.scores.values())).counts.shape[-1]
        counts = np.zeros((len(seeds), len(speakers), classes, classes), dtype=np.int64)
        for (_, seed), score in self.scores.items():
            counts[seeds.index(seed), [row[speaker] for speaker in score.speakers]] += score.counts
        return counts


@dataclass(frozen=True)
class Significance:
    """How sure the weighted F1 of a complete cell is (see `ser.scoring.significance`), in per cent.

    `f1` is of the folds pooled; the difference to No CP, its interval and p are None for No CP itself and where the
    cell of No CP is not complete.
    """

    speakers: int
    f1: float
    f1_interval: tuple[float, float]
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    p: float | None = None


@dataclass(frozen=True)
class Results:
    """All cells of an experiment folder; `notes` has a line for everything that a reader of the tables must know."""

    recipe: str
    exp_dir: Path
    classes: tuple[str, ...]
    conditions: tuple[Condition, ...]
    tests: tuple[str, ...]
    seeds: tuple[int, ...]
    folds: tuple[int, ...]
    cells: Mapping[tuple[Condition, str], Cell]
    notes: tuple[str, ...]
    _significance: dict[str, dict[Condition, Significance]] = field(default_factory=dict, compare=False)

    @property
    def rows(self) -> list[Condition]:
        """The rows of a table, each as its condition without CopyPaste, which need not have runs."""
        return list(dict.fromkeys(condition.of_scheme("none") for condition in self.conditions))

    @property
    def schemes(self) -> list[str]:
        present = {condition.scheme for condition in self.conditions}
        return [scheme for scheme in SCHEMES if scheme in present]

    def cell(self, condition: Condition, test: str) -> Cell:
        expected = tuple((fold, seed) for fold in self.folds or (None,) for seed in self.seeds)
        return self.cells.get((condition, test), Cell({}, expected))

    def significance(self, test: str) -> dict[Condition, Significance]:
        """Return the intervals and tests of all complete cells of a test set; they are computed once."""
        if test not in self._significance:
            found: dict[Condition, Significance] = {}
            for row in self.rows:
                found |= self._significance_of_row(row, test)
            self._significance[test] = found
        return self._significance[test]

    def _significance_of_row(self, row: Condition, test: str) -> dict[Condition, Significance]:
        complete = [
            condition for condition in map(row.of_scheme, SCHEMES) if self.cell(condition, test).complete
        ]
        if not complete:
            return {}
        counts = np.stack([self.cell(condition, test).pooled() for condition in complete])
        # (resamples, conditions): means over seeds, of every condition on the same resampled speakers
        samples = 100 * bootstrap_f1(counts).mean(axis=-1)
        f1 = 100 * weighted_f1(counts.sum(axis=2)).mean(axis=-1)
        found = {}
        for column, condition in enumerate(complete):
            against = {}
            if condition.scheme != "none" and complete[0].scheme == "none":
                against = {
                    "difference": float(f1[column] - f1[0]),
                    "difference_interval": interval(samples[:, column] - samples[:, 0]),
                    "p": randomisation_p(counts[column], counts[0]),
                }
            found[condition] = Significance(
                counts.shape[2], float(f1[column]), interval(samples[:, column]), **against
            )
        return found


def test_title(test: str) -> str:
    """Name a test set: `test` is the clean test, `test_snr10` the 10 dB test; others go by their own names."""
    match = re.fullmatch(r"test_snr(-?[\d.]+)", test)
    return f"{match[1]} dB test" if match else "clean test" if test == "test" else test


test_title.__test__ = False  # a name that pytest would collect
