"""What the scores of an experiment folder say: cells, each all runs of one condition on one test set."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ser.augment.copypaste import SCHEMES
from ser.augment.dilution import DILUTED_TEST
from ser.scoring.metrics import weighted_f1
from ser.scoring.predictions import OF_UTTERANCES
from ser.scoring.significance import bootstrap_f1, interval, randomisation_p

TRAIN_DATA = {"clean": "Clean", "clean+noise": "Clean+Noise"}  # the papers', with their titles
_KINDS = {"clean": "Clean", "noise": "Noise", "speed": "Speed", "pitch": "Pitch", "vtlp": "VTLP",
          "emoaug": "EmoAug", "cyclegan": "CycleGAN", "stargan": "StarGAN"}  # of training data
_COUNTED = re.compile(r"(?P<kind>[a-z]+)(?P<number>\d*)")  # of copies, how many

ELSEWHERE = "@"  # stands in the name of training data before the corpus that they are of, where it is another
BASELINE = "functionals"  # the system that a network has to beat
_BASELINE_READS = "mfcc"  # the system whose features it reads

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
    def trained_on(self) -> str:
        """The corpus that these runs were trained on, with the fold if it has folds; '' for the one they are scored on.
        """
        return self.train_data.partition(ELSEWHERE)[2]

    @property
    def train_title(self) -> str:
        """What tables call the training data: Clean+VTLP, or the name where copies have options of their own."""
        data = self.train_data.partition(ELSEWHERE)[0]
        words = [_COUNTED.fullmatch(word) for word in data.split("+")]
        if not all(word and word["kind"] in _KINDS for word in words):
            return data
        return "+".join(_KINDS[word["kind"]] + word["number"] for word in words)

    @property
    def kinds(self) -> list[str]:
        """The kinds of training data, without their options: clean and noise of `clean+noise-music-20`."""
        words = self.train_data.partition(ELSEWHERE)[0].split("+")
        return [word.partition("-")[0].rstrip("0123456789") for word in words]

    @property
    def features(self) -> str:
        return self.model.rpartition("-")[0]

    @property
    def is_baseline(self) -> bool:
        """Whether this is a baseline's, whose runs are the same for every seed, so that it has seed 0 alone."""
        return self.features.startswith(BASELINE)

    @property
    def reads(self) -> str:
        """The features that are read: a baseline's are those of the system mfcc with the same options."""
        return _BASELINE_READS + self.features.removeprefix(BASELINE) if self.is_baseline else self.features

    def expected(self, seeds: Iterable[int], folds: Iterable[int]) -> tuple[RunKey, ...]:
        """Return the runs of a complete cell."""
        return tuple((fold, seed) for fold in folds or (None,) for seed in ((0,) if self.is_baseline else seeds))

    @property
    def not_by_speaker(self) -> Condition:
        """The same with features not normalised by speaker: with sliding means, or hidden states as they are."""
        return replace(self, model=re.sub(r"-speaker(-vars)?(?=-)", "", self.model))

    @property
    def on_clean(self) -> Condition:
        """The same, trained on clean data alone."""
        _, mark, corpus = self.train_data.partition(ELSEWHERE)
        return replace(self, train_data=f"clean{mark}{corpus}")

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
        known = list(_KINDS)
        data = [known.index(kind) if kind in known else len(known) for kind in self.kinds]
        scheme = list(SCHEMES).index(self.scheme)
        return self.model, bool(self.trained_on), data, self.train_data, self.init, self.tag, scheme


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
            mean=float(np.mean(seeds)) if seeds and not np.isnan(seeds).any() else None,
            std=float(np.std(seeds, ddof=1)) if len(seeds) > 1 and self.complete else None,
            runs=len(self.scores), expected=len(self.expected),
        )

    @property
    def train_utterances(self) -> float | None:
        """How many utterances, copies included, the runs found were trained on, on average; None where not all say so.
        """
        numbers = [score.record["checkpoint"].get("train_utterances") for score in self.scores.values()]
        return None if not numbers or None in numbers else float(np.mean(numbers))

    def confusion(self) -> np.ndarray:
        """Counts (C, C) summed over all runs found."""
        return np.sum([score.counts.sum(axis=0) for score in self.scores.values()], axis=0)

    @property
    def speakers(self) -> list[str]:
        """The speakers of all runs found, sorted."""
        return sorted({speaker for score in self.scores.values() for speaker in score.speakers})

    def pooled(self) -> np.ndarray:
        """Counts (seeds, S, C, C): the folds of a seed pooled, speakers as in `speakers`. For complete cells."""
        speakers = self.speakers
        row = {speaker: number for number, speaker in enumerate(speakers)}
        seeds = sorted({seed for _, seed in self.scores})
        classes = next(iter(self.scores.values())).counts.shape[-1]
        counts = np.zeros((len(seeds), len(speakers), classes, classes), dtype=np.int64)
        for (_, seed), score in self.scores.items():
            counts[seeds.index(seed), [row[speaker] for speaker in score.speakers]] += score.counts
        return counts


@dataclass(frozen=True)
class Difference:
    """How far a cell's weighted F1 is above another's on the same utterances, in points, and how sure that is."""

    points: float
    interval: tuple[float, float]
    p: float


@dataclass(frozen=True)
class Significance:
    """How sure the weighted F1 of a complete cell is (see `ser.scoring.significance`), in per cent.

    `f1` is of the folds pooled. The differences are to No CP, to training on clean data alone, and to the baseline;
    they are None where there is nothing to compare with: for these themselves, and where the other cell lacks runs.
    """

    speakers: int
    f1: float
    f1_interval: tuple[float, float]
    to_none: Difference | None = None
    to_clean: Difference | None = None
    to_baseline: Difference | None = None


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
        return self.cells.get((condition, test), Cell({}, condition.expected(self.seeds, self.folds)))

    def normalised_over(self, model: str, test: str) -> dict[str, int]:
        """Return, of a model with features normalised by speaker, over how many recordings of each test speaker."""
        return {
            speaker: number
            for (condition, name), cell in self.cells.items() if (condition.model, name) == (model, test)
            for score in cell.scores.values() for speaker, number in score.record["normalised_over"].items()
        }

    def significance(self, test: str) -> dict[Condition, Significance]:
        """Return the intervals and tests of all complete cells of a test set; they are computed once."""
        if test not in self._significance:
            cells = {condition: self.cell(condition, test) for condition in self.conditions}
            drawn = {condition: _Resampled.of(cell) for condition, cell in cells.items() if cell.complete}
            self._significance[test] = {
                condition: Significance(
                    len(own.speakers), own.f1, interval(own.samples),
                    own.difference(drawn.get(condition.of_scheme("none"))) if condition.scheme != "none" else None,
                    own.difference(drawn.get(condition.on_clean)) if condition.on_clean != condition else None,
                    own.difference(drawn.get(self.baseline_of(condition))),
                )
                for condition, own in drawn.items()
            }
        return self._significance[test]

    def baseline_of(self, condition: Condition) -> Condition | None:
        """Return the baseline that a condition has to beat, None if there is none, or it is one.

        It was trained on the same data, and on the same features, or on those of the default options where the
        condition reads something else than MFCC.
        """
        reads = condition.reads if condition.reads.startswith(_BASELINE_READS) else _BASELINE_READS
        wanted = reads, condition.train_data, ""
        found = (row for row in self.rows if row.is_baseline and (row.reads, row.train_data, row.tag) == wanted)
        return None if condition.is_baseline else next(found, None)


@dataclass(frozen=True)
class _Resampled:
    """A complete cell: its speakers, counts (seeds, S, C, C), weighted F1 in per cent, and that of bootstrap samples.

    The samples, means over seeds, are of the same drawn speakers in every cell of as many speakers.
    """

    speakers: list[str]
    counts: np.ndarray
    f1: float
    samples: np.ndarray

    @classmethod
    def of(cls, cell: Cell) -> _Resampled:
        counts = cell.pooled()
        f1 = 100 * weighted_f1(counts.sum(axis=1)).mean()
        return cls(cell.speakers, counts, float(f1), 100 * bootstrap_f1(counts).mean(axis=-1))

    def difference(self, other: _Resampled | None) -> Difference | None:
        """Compare two cells; None where one is missing, or was tested on other utterances."""
        if other is None or self.speakers != other.speakers:
            return None
        if (self.counts[0].sum(axis=-1) != other.counts[0].sum(axis=-1)).any():
            return None
        paired = np.broadcast_to(other.counts, self.counts.shape)  # a baseline has one seed, the same for all of these
        return Difference(
            self.f1 - other.f1, interval(self.samples - other.samples), randomisation_p(self.counts, paired)
        )


def tag_of_tables(conditions: Iterable[Condition]) -> str:
    """Return the tag whose runs stand in a paper's tables: `paper`, else none, else the first there is."""
    tags = {condition.tag for condition in conditions}
    return min(tags, key=lambda tag: (tag != "paper", tag != "", tag), default="")


def test_title(test: str) -> str:
    """Name a test set: `test` is the clean test, `test_snr10` the 10 dB test; others go by their own names.

    What score.py leaves of whole utterances beside their blocks, `test_utterances`, is the clean test, utterances.
    """
    if test.endswith(OF_UTTERANCES):
        return f"{test_title(test.removesuffix(OF_UTTERANCES))}, utterances"
    match = re.fullmatch(r"test_snr(-?[\d.]+)", test)
    return f"{match[1]} dB test" if match else {"test": "clean test", DILUTED_TEST: "diluted test"}.get(test, test)


test_title.__test__ = False  # a name that pytest would collect
