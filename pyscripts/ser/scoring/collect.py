"""Read every score of an experiment folder.

Layout: `<exp>/<features>-<network>_<train data>_<scheme>_<init>[_<tag>]/[fold<k>/]seed<n>/score_<test set>/`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ser.augment.copypaste import SCHEMES
from ser.augment.dilution import DILUTED_TEST
from ser.base.errors import SerError
from ser.base.progress import progress
from ser.base.words import some
from ser.scoring.predictions import (
    OF_UTTERANCES,
    Predictions,
    read_predictions,
    read_score,
    reason_for_no_score,
    score_folder,
)
from ser.scoring.results import Cell, Condition, Results, RunKey, RunScore, test_title

Scores = Mapping[tuple[Condition, str], Mapping[RunKey, RunScore]]
# By test, fold, and what is read: a run's score, and a hash of the utterances that it was tested on.
Tested = dict[tuple[str, int | None, str], tuple[Path, int]]
_NOT_COMPARED = ("scheme", "init", "seed")  # options that differ from run to run by design


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
    expected_seeds = _expected(seeds, {
        seed for condition, found in runs.items() if not condition.is_baseline for _, seed in found
    } or {0})
    if folds is None and expected_folds and any(fold is None for fold, _ in keys):
        raise SerError(
            f"{exp_dir}: has runs with folds and runs without ({_describe(k for k in keys if k[0] is None)}); "
            "they do not make one table: move one kind away or name the folds with --folds"
        )
    expected = {condition: condition.expected(expected_seeds, expected_folds) for condition in runs}
    if surplus := {key for condition, found in runs.items() for key in found.keys() - set(expected[condition])}:
        notes.append(f"left out because they were not asked for: {_describe(surplus)}")

    tests = _tests({
        folder.name.removeprefix("score_")
        for condition, found in runs.items() for key, run_dir in found.items() if key in expected[condition]
        for folder in run_dir.glob("score_*") if folder.is_dir()
    })
    there = [
        (condition, test, key, score_folder(run_dir, test))
        for condition, found in runs.items() for key, run_dir in found.items() if key in expected[condition]
        for test in tests if (score_folder(run_dir, test) / "score.json").exists()
    ]
    reasons = {(condition, test, key): reason for condition, test, key, folder in there
               if (reason := reason_for_no_score(folder))}
    notes += _left_empty(reasons, several=len({condition.reads for condition in runs}) > 1)
    wanted = [place for place in there if place[:3] not in reasons]
    tests = tuple(test for test in tests if test in {name for _, name, _, _ in wanted} or
                  test not in {name for _, name, _ in reasons})
    if not wanted:
        raise SerError(
            "\n  ".join([f"{exp_dir}: no scores of the runs asked for (<condition>/[fold<k>/]seed<n>/score_<test set>/"
                         "score.json); train and score first (run.sh, stages 3 and 4)", *notes])
        )

    scores, tested = _read_scores(wanted, recipe)
    classes = {tuple(run.record["classes"]): run for found in scores.values() for run in found.values()}
    if len(classes) > 1:
        places = " and ".join(str(run.folder) for run in list(classes.values())[:2])
        raise SerError(f"{places}: have different classes; they belong in different experiment folders")
    notes += _differing_options(scores) + _differing_tests(tested) + _dropped(scores) + _classes_left_out(scores)
    conditions = tuple(sorted(runs, key=Condition.order))
    cells = {place: Cell(found, expected[place[0]]) for place, found in scores.items()}
    notes += _lacking(conditions, tests, cells, expected, expected_folds, reasons)
    return Results(
        recipe, exp_dir, next(iter(classes)), conditions, tests, expected_seeds, expected_folds, cells, tuple(notes)
    )


def _read_scores(
    wanted: Sequence[tuple[Condition, str, RunKey, Path]], recipe: str
) -> tuple[Scores, Tested]:
    """Read scores, of which each is given with its condition, test and run.

    Returns:
        The scores, and what was tested.

    Raises:
        SerError: files are broken or altered, or runs were not tested on the same utterances; all are named.
    """
    problems: list[str] = []
    scores: dict[tuple[Condition, str], dict[RunKey, RunScore]] = {}
    tested: Tested = {}
    for condition, test, key, folder in progress(wanted, len(wanted), "reading scores", "file"):
        try:
            score = read_score(folder)
            run = RunScore(folder, score.record, *_speaker_counts(score.predictions))
            identity = hash((score.predictions.parts, score.predictions.speakers, score.predictions.reference))
            first, expected_identity = tested.setdefault((test, key[0], _reads(condition)), (folder, identity))
            if identity != expected_identity:
                raise SerError(_difference(score.predictions, folder, first))
        except SerError as error:
            problems.append(f"{error}; {_remedy(recipe, folder)}")
            continue
        scores.setdefault((condition, test), {})[key] = run
    if problems:
        raise SerError("\n  ".join([f"{len(problems)} of {len(wanted)} scores cannot be used:", *problems]))
    return scores, tested


def _lacking(
    conditions: Sequence[Condition], tests: Sequence[str], cells: Mapping[tuple[Condition, str], Cell],
    expected: Mapping[Condition, Sequence[RunKey]], folds: Sequence[int],
    reasons: Mapping[tuple[Condition, str, RunKey], str],
) -> list[str]:
    """Name the runs that conditions should have on tests and have not, but for those with a reason for no score."""
    notes: list[str] = []
    for condition in conditions:
        lacking: dict[str, list[str]] = {}
        for test in tests:
            missing = [key for key in cells.get((condition, test), Cell({}, expected[condition])).missing
                       if (condition, test, key) not in reasons]
            if missing:
                lacking.setdefault(_describe(missing, folds), []).append(test)
        notes += [f"* {condition.name} on {', '.join(those)} lacks {runs}" for runs, those in lacking.items()]
    return notes


def _reads(condition: Condition) -> str:
    """Return what runs with the same test utterances have in common: features, and the corpus they are trained on."""
    return condition.reads + (f" (trained on {condition.trained_on})" if condition.trained_on else "")


def _classes_left_out(scores: Scores) -> list[str]:
    """Name the classes that a network of another corpus does not know, or that only it knows."""
    found: dict[tuple[Condition, str], list[str]] = {}
    for (condition, test), runs in scores.items():
        unknown, other = Counter(), set()
        for run in runs.values():
            unknown.update(run.record["unknown_classes"])
            other.update(run.record["other_classes"])
        said = []
        if unknown:
            counts = ", ".join(f"{name} ({number})" for name, number in sorted(unknown.items()))
            said.append(f"it does not know {counts}, whose utterances are left out")
        if other:
            said.append(f"this corpus does not have its {', '.join(sorted(other))}, which is no answer here")
        if said:
            found.setdefault((condition, "; ".join(said)), []).append(test_title(test))
    return [f"{condition.name}, trained on {condition.trained_on}: {said} ({', '.join(tests)})"
            for (condition, said), tests in found.items()]


def _differing_options(scores: Scores) -> list[str]:
    """Name options and front ends that differ among the runs of one model and tag, whose scores do not compare."""
    seen: dict[tuple[str, str, str, str], dict[str, Path]] = {}
    for (condition, _), found in scores.items():
        for run in found.values():
            checkpoint = run.record["checkpoint"]
            made_by = {**checkpoint.get("options", {}), "front end": checkpoint.get("front_end", "")}
            for name in made_by.keys() - set(_NOT_COMPARED):
                values = seen.setdefault((condition.trained_on, condition.model, condition.tag, name), {})
                values.setdefault(str(made_by[name]), run.folder.parent)
    return [
        f"BEWARE: runs differ in {name}, so their scores do not compare: "
        + ", ".join(f"{value!r} in {folder}" for value, folder in values.items())
        for (*_, name), values in sorted(seen.items()) if len(values) > 1
    ]


def _differing_tests(tested: Tested) -> list[str]:
    """Name the test sets that do not have the same utterances in all features."""
    found: dict[tuple[str, int | None], dict[int, str]] = {}
    for (test, fold, features), (_, identity) in tested.items():
        found.setdefault((test, fold), {}).setdefault(identity, features)
    unlike = {test: names.values() for (test, _), names in found.items() if len(names) > 1}
    return [
        f"BEWARE: {test_title(test)}: {' and '.join(names)} were not tested on the same utterances, so their scores do "
        "not compare" for test, names in unlike.items()
    ]


def _left_empty(reasons: Mapping[tuple[Condition, str, RunKey], str], several: bool) -> list[str]:
    """Name the test sets that could not be made, of `several` features or of the only ones there are."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for (condition, test, _), reason in reasons.items():
        found.setdefault((test, reason), {})[condition.reads] = None
    return [f"{test_title(test)}: left empty{f' of {some(features)}' if several else ''}, since {reason}"
            for (test, reason), features in found.items()]


def _dropped(scores: Scores) -> list[str]:
    """Name the test sets that lack utterances, dropped by the front end or left out, over all folds."""
    found: dict[tuple[str, str], dict[int | None, tuple[int, int, int]]] = {}
    for (condition, test), runs in scores.items():
        by_fold = found.setdefault((test, _reads(condition)), {})
        for (fold, _), run in runs.items():
            counts = tuple(run.record[name] for name in ("dropped", "left_out", "utterances"))
            by_fold[fold] = max(by_fold.get(fold, (0, 0, 0)), counts)
    several = len({features for _, features in found}) > 1
    notes = []
    for (test, features), by_fold in found.items():
        dropped, left_out, tested = map(sum, zip(*by_fold.values(), strict=True))
        total = dropped + left_out + tested
        if dropped:
            notes.append(f"{test_title(test)}: {dropped} of {total} utterances were dropped by the front end"
                         + (f" of {features}" if several else ""))
        if left_out:
            notes.append(f"{test_title(test)}: {left_out} of {total} utterances were left out, whose speakers have no "
                         "second neutral utterance" + (f" in {features}" if several else ""))
    return notes


def _find_runs(exp_dir: Path, notes: list[str]) -> dict[Condition, dict[RunKey, Path]]:
    """Find the run folders of every condition; `notes` gets a line for folders that are left out."""
    runs: dict[Condition, dict[RunKey, Path]] = {}
    old_names: dict[str, str] = {}
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
        elif found and (new := _name_with_model(folder.name)):
            old_names[folder.name] = new
        elif found:
            notes.append("left out because the name is no condition's (<features>-<network>_<train data>_<scheme>_"
                         f"<init>[_<tag>]): {folder}")
    if old_names:
        it = "it" if len(old_names) == 1 else "each"
        notes.append(
            f"{exp_dir}: left out {some(list(old_names))}: made before folders named their model; rename {it} to "
            f"{some(list(old_names.values()))} to keep it in the tables"
        )
    return runs


def _name_with_model(name: str) -> str | None:
    """Return today's name of a folder `<train data>_<scheme>_<init>` of the old layout, None if it is none."""
    schemes = "|".join(map(re.escape, SCHEMES))
    match = re.fullmatch(rf"(clean|clean\+noise)_({schemes})_(random|xvector.*)", name)
    return f"mfcc-resnet_{match[1]}_{match[2]}_{match[3].replace('_', '-')}" if match else None


def _expected(asked: Iterable[int] | None, seen: set[int]) -> tuple[int, ...]:
    return tuple(sorted(seen if asked is None else set(asked)))


def _tests(names: set[str]) -> tuple[str, ...]:
    """Sort test sets as the tables have them: clean, diluted, noisy from the highest SNR down, others.

    Those of whole utterances, beside their blocks, come after all of blocks in the same order.
    """

    def order(name: str) -> tuple[bool, int, float, str]:
        whole, name = name.endswith(OF_UTTERANCES), name.removesuffix(OF_UTTERANCES)
        match = re.fullmatch(r"test_snr(-?[\d.]+)", name)
        if name in ("test", DILUTED_TEST):
            return whole, 0, len(name), ""
        return (whole, 1, -float(match[1]), "") if match else (whole, 2, 0, name)

    return tuple(sorted(names, key=order))


def _speaker_counts(predictions: Predictions) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the speakers, sorted, and their confusion counts (S, C, C)."""
    speakers, row = np.unique(predictions.speakers, return_inverse=True)
    index = {name: number for number, name in enumerate(predictions.classes)}
    reference = [index[name] for name in predictions.reference]
    hypothesis = [index[name] for name in predictions.hypothesis]
    counts = np.zeros((len(speakers), len(index), len(index)), dtype=np.int64)
    np.add.at(counts, (row, reference, hypothesis), 1)
    return tuple(speakers.tolist()), counts


def _difference(predictions: Predictions, folder: Path, first: Path) -> str:
    """Say where two runs that must have been tested on the same utterances differ."""
    other = read_predictions(first / "predictions.tsv")
    here, there = (set(zip(p.parts, p.speakers, p.reference, strict=True)) for p in (predictions, other))
    example = " ".join(min(here ^ there))
    return (
        f"{folder} and {first} were not tested on the same utterances, speakers and labels: {len(here ^ there)} "
        f"entries differ, the first is '{example}'"
    )


def _remedy(recipe: str, folder: Path) -> str:
    """Say which command makes a score again."""
    return (f"remove {folder} and score again: ./run.sh --recipe {recipe} --stage 4 --config "
            f"{folder.parent / 'config.yaml'}")


def _describe(keys: Iterable[RunKey], folds: Sequence[int | None] = ()) -> str:
    """Return `fold1/seed0 fold1/seed2 …`, in order; of seeds in all of several folds, `seed0 seed2 of every fold`."""
    keys = sorted(keys, key=lambda key: (-1 if key[0] is None else key[0], key[1]))
    seeds = list(dict.fromkeys(seed for _, seed in keys))
    if len(folds) > 1 and keys == [(fold, seed) for fold in folds for seed in seeds]:
        return " ".join(f"seed{seed}" for seed in seeds) + " of every fold"
    return " ".join(f"seed{seed}" if fold is None else f"fold{fold}/seed{seed}" for fold, seed in keys)
