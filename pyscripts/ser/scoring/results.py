"""Every score of an experiment folder, gathered into cells: one condition on one test set, all its runs.

Layout: `<exp>/<train data>_<scheme>_<init>/[fold<k>/]seed<s>/score_<test set>/`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ser.base.errors import SerError
from ser.base.progress import progress
from ser.scoring.predictions import Predictions, read_predictions, read_score, score_folder, weighted_f1
from ser.scoring.significance import bootstrap_f1, interval, randomisation_p

SCHEMES = {"none": "No CP", "se-cp": "SE-CP", "n-cp": "N-CP", "n+se-cp": "N+SE-CP"}
TRAIN_DATA = {"clean": "Clean", "clean+noise": "Clean+Noise"}

RunKey = tuple[int | None, int]  # fold, seed


@dataclass(frozen=True)
class Condition:
    """What is the same for all runs of one row and column of a table."""

    train_data: str
    scheme: str
    init: str

    @property
    def name(self) -> str:
        return f"{self.train_data}_{self.scheme}_{self.init}"

    @classmethod
    def parse(cls, name: str) -> Condition | None:
        """The condition that a folder name spells, or None if it spells none."""
        schemes, data = ("|".join(map(re.escape, names)) for names in (SCHEMES, TRAIN_DATA))
        match = re.fullmatch(rf"({data})_({schemes})_(random|xvector(?:-.+)?)", name)
        return cls(*match.groups()) if match else None

    def order(self) -> tuple[int, str, int]:
        return list(TRAIN_DATA).index(self.train_data), self.init, list(SCHEMES).index(self.scheme)


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

    `mean` is None when no run is there, `std` when there is one seed only or runs are missing.
    """

    mean: float | None
    std: float | None
    runs: int
    expected: int

    @property
    def complete(self) -> bool:
        return self.runs == self.expected

    def text(self, digits: int = 1) -> str:
        """`61.2 ± 0.5`; `61.2 (2/3 runs)*` when runs are missing; a dash when all are."""
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
    """Of a complete cell, in per cent: pooled weighted F1 with its interval, and against No CP the difference, its
    interval and p (see `ser.scoring.significance`); they are None for No CP itself and where its cell is not complete.
    """

    speakers: int
    f1: float
    f1_interval: tuple[float, float]
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    p: float | None = None


@dataclass(frozen=True)
class Results:
    """All cells of an experiment folder, and `notes`: what was left out or is missing, one line each."""

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
    def rows(self) -> list[tuple[str, str]]:
        """Train data and initialisation of the conditions that exist."""
        return list(dict.fromkeys((condition.train_data, condition.init) for condition in self.conditions))

    @property
    def schemes(self) -> list[str]:
        present = {condition.scheme for condition in self.conditions}
        return [scheme for scheme in SCHEMES if scheme in present]

    def cell(self, condition: Condition, test: str) -> Cell:
        expected = tuple((fold, seed) for fold in self.folds or (None,) for seed in self.seeds)
        return self.cells.get((condition, test), Cell({}, expected))

    def significance(self, test: str) -> dict[Condition, Significance]:
        """Intervals and tests of all complete cells of a test set, computed once."""
        if test not in self._significance:
            found: dict[Condition, Significance] = {}
            for train_data, init in self.rows:
                found |= self._significance_of_row(train_data, init, test)
            self._significance[test] = found
        return self._significance[test]

    def _significance_of_row(self, train_data: str, init: str, test: str) -> dict[Condition, Significance]:
        row = [Condition(train_data, scheme, init) for scheme in SCHEMES]
        complete = [condition for condition in row if self.cell(condition, test).complete]
        if not complete:
            return {}
        counts = np.stack([self.cell(condition, test).pooled() for condition in complete])
        # The mean over seeds, of every condition on the same resampled speakers: (resamples, conditions).
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


def collect(
    exp_dir: str | os.PathLike[str],
    recipe: str,
    seeds: Sequence[int] | None = None,
    folds: Sequence[int] | None = None,
) -> Results:
    """Read every score under `exp_dir`.

    Args:
        seeds, folds: the runs that a cell must have; None stands for all that any condition of the folder has.

    Raises:
        SerError: no scores at all; files that are broken or altered (all are named, with the command that makes
            them again); runs with and without folds side by side; runs that were not tested on the same utterances.
    """
    exp_dir = Path(exp_dir)
    if not exp_dir.is_dir():
        raise SerError(f"{exp_dir}: no such folder; train and score first (run.sh, stages 3 and 4)")
    notes: list[str] = []
    runs = _find_runs(exp_dir, notes)
    keys = {key for found in runs.values() for key in found}
    expected_folds = _expected(folds, {fold for fold, _ in keys if fold is not None})
    expected_seeds = _expected(seeds, {seed for _, seed in keys})
    if folds is None and expected_folds and any(fold is None for fold, _ in keys):
        raise SerError(
            f"{exp_dir}: has runs with folds and runs without ({_describe(k for k in keys if k[0] is None)}); "
            "they do not make one table: move one kind away or name the folds with --folds"
        )
    expected = tuple((fold, seed) for fold in expected_folds or (None,) for seed in expected_seeds)
    surplus = keys - set(expected)
    if surplus:
        notes.append(f"left out because they were not asked for: {_describe(surplus)}")

    tests = _tests({
        folder.name.removeprefix("score_")
        for found in runs.values() for key, run_dir in found.items() if key in expected
        for folder in run_dir.glob("score_*") if folder.is_dir()
    })
    wanted = [
        (condition, test, key, score_folder(run_dir, test))
        for condition, found in runs.items() for key, run_dir in found.items() if key in expected
        for test in tests if (score_folder(run_dir, test) / "score.json").exists()
    ]
    if not wanted:
        raise SerError(
            f"{exp_dir}: no scores of the runs asked for (<condition>/[fold<k>/]seed<s>/score_<test set>/score.json); "
            "train and score first (run.sh, stages 3 and 4)"
        )

    problems: list[str] = []
    scores: dict[tuple[Condition, str], dict[RunKey, RunScore]] = {}
    tested: dict[tuple[str, int | None], tuple[Path, int]] = {}
    for condition, test, key, folder in progress(wanted, len(wanted), "reading scores", "file"):
        try:
            score = read_score(folder)
            run = RunScore(folder, score.record, *_speaker_counts(score.predictions))
            first, identity = tested.setdefault((test, key[0]), (folder, _identity(score.predictions)))
            if identity != _identity(score.predictions):
                raise SerError(_difference(score.predictions, folder, first))
        except SerError as error:
            problems.append(f"{error}; {_remedy(recipe, condition, key, folder)}")
            continue
        scores.setdefault((condition, test), {})[key] = run
    if problems:
        raise SerError("\n  ".join([f"{len(problems)} of {len(wanted)} scores cannot be used:", *problems]))

    classes = {tuple(run.record["classes"]): run for found in scores.values() for run in found.values()}
    if len(classes) > 1:
        places = " and ".join(str(run.folder) for run in list(classes.values())[:2])
        raise SerError(f"{places}: have different classes; they belong in different experiment folders")
    notes += _unlike(run for found in scores.values() for run in found.values())
    conditions = tuple(sorted(runs, key=Condition.order))
    cells = {place: Cell(found, expected) for place, found in scores.items()}
    for condition in conditions:
        for test in tests:
            missing = cells.get((condition, test), Cell({}, expected)).missing
            if missing:
                notes.append(f"* {condition.name} on {test} lacks {_describe(missing)}")
    return Results(
        recipe, exp_dir, next(iter(classes)), conditions, tests, expected_seeds, expected_folds, cells, tuple(notes)
    )


def _unlike(runs: Iterable[RunScore]) -> list[str]:
    """Training options and front ends that are not the same in all runs: their scores should not be compared."""
    seen: dict[str, dict[str, Path]] = {}
    for run in runs:
        checkpoint = run.record["checkpoint"]
        made_by = {**checkpoint.get("options", {}), "front end": checkpoint.get("front_end", "")}
        made_by.pop("scheme", None)
        for name, value in made_by.items():
            seen.setdefault(name, {}).setdefault(str(value), run.folder.parent)
    return [
        f"BEWARE: runs differ in {name}, so their scores do not compare: "
        + ", ".join(f"{value!r} in {folder}" for value, folder in values.items())
        for name, values in seen.items() if len(values) > 1
    ]


def test_title(test: str) -> str:
    """`test` is the clean test, `test_snr10` the 10 dB test; others go by their name."""
    match = re.fullmatch(r"test_snr(-?\d+)", test)
    return f"{match[1]} dB test" if match else "clean test" if test == "test" else test


test_title.__test__ = False  # a name that pytest would collect


def _find_runs(exp_dir: Path, notes: list[str]) -> dict[Condition, dict[RunKey, Path]]:
    runs: dict[Condition, dict[RunKey, Path]] = {}
    for folder in sorted(path for path in exp_dir.iterdir() if path.is_dir()):
        condition = Condition.parse(folder.name)
        found = {}
        for run_dir in sorted((*folder.glob("seed*"), *folder.glob("fold*/seed*"))):
            names = run_dir.relative_to(folder).parts
            numbers = [re.fullmatch(r"(?:seed|fold)(\d+)", name) for name in names]
            if run_dir.is_dir() and all(numbers):
                fold = int(numbers[0][1]) if len(names) == 2 else None
                found[fold, int(numbers[-1][1])] = run_dir
        if found and condition:
            runs[condition] = found
        elif found:
            notes.append(f"left out because the name is no condition's (<train data>_<scheme>_<init>): {folder}")
    return runs


def _expected(asked: Iterable[int] | None, seen: set[int]) -> tuple[int, ...]:
    return tuple(sorted(seen if asked is None else set(asked)))


def _tests(names: set[str]) -> tuple[str, ...]:
    """Test sets in the order of the tables: the clean one, the noisy ones from the highest SNR down, the others."""

    def order(name: str) -> tuple[int, int, str]:
        match = re.fullmatch(r"test_snr(-?\d+)", name)
        return (0, 0, "") if name == "test" else (1, -int(match[1]), "") if match else (2, 0, name)

    return tuple(sorted(names, key=order))


def _speaker_counts(predictions: Predictions) -> tuple[tuple[str, ...], np.ndarray]:
    """Speakers, sorted, and their confusion counts (S, C, C)."""
    speakers = tuple(sorted(set(predictions.speakers)))
    size = len(predictions.classes)
    row = {speaker: number for number, speaker in enumerate(speakers)}
    label = {name: number for number, name in enumerate(predictions.classes)}
    place = [
        (row[speaker] * size + label[reference]) * size + label[hypothesis]
        for speaker, reference, hypothesis in zip(
            predictions.speakers, predictions.reference, predictions.hypothesis, strict=True
        )
    ]
    return speakers, np.bincount(place, minlength=len(speakers) * size * size).reshape(-1, size, size)


def _identity(predictions: Predictions) -> int:
    """Equal for runs tested on the same utterances with the same speakers and labels."""
    return hash((predictions.utterances, predictions.speakers, predictions.reference))


def _difference(predictions: Predictions, folder: Path, first: Path) -> str:
    """Say where two runs that must have been tested on the same utterances differ."""
    other = read_predictions(first / "predictions.tsv")
    here, there = (set(zip(p.utterances, p.speakers, p.reference, strict=True)) for p in (predictions, other))
    example = " ".join(min(here ^ there))
    return (
        f"{folder} and {first} were not tested on the same utterances, speakers and labels: {len(here ^ there)} "
        f"entries differ, the first is '{example}'"
    )


def _remedy(recipe: str, condition: Condition, key: RunKey, folder: Path) -> str:
    fold = f" --folds {key[0]}" if key[0] is not None else ""
    init = "random" if condition.init == "random" else "<x-vector folder>"
    return (
        f"remove {folder} and score again: ./run.sh --recipe {recipe} --stage 4 --train-data {condition.train_data} "
        f"--scheme {condition.scheme} --init {init} --seeds {key[1]}{fold}"
    )


def _describe(keys: Iterable[RunKey]) -> str:
    """`fold1/seed0 fold1/seed2` …, in order."""
    return " ".join(
        f"seed{seed}" if fold is None else f"fold{fold}/seed{seed}"
        for fold, seed in sorted(keys, key=lambda key: (-1 if key[0] is None else key[0], key[1]))
    )
