"""The files of a scored test set: `predictions.tsv` and `score.json`.

Both lie in `<run>/score_<test set>/`. `score.json` is written last and carries the SHA-256 of `predictions.tsv`, so a
score that exists is whole, and belongs to the predictions beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ser.base.errors import SerError
from ser.base.files import write_text
from ser.base.words import some
from ser.scoring.metrics import MEASURES, metrics

_FIXED_COLUMNS = ("utterance", "speaker", "reference", "hypothesis")
_PARTS = "parts"  # a column of tests whose examples are joined
_DECIMALS = 6
OF_UTTERANCES = "_utterances"  # ends the name of a test of blocks where whole utterances are scored by their blocks
_NONE: Mapping[str, Any] = {"normalised_over": {}, "unknown_classes": {}, "other_classes": []}


@dataclass(frozen=True)
class Predictions:
    """The output of one network on one test set: N utterances in C-locale order, C classes.

    `posteriors` is (N, C), each row summing to 1; `reference` and `hypothesis` hold class names. `parts` are the ids,
    with a blank between them, that were joined to make each utterance, in order: the id itself where nothing was.
    """

    classes: tuple[str, ...]
    utterances: tuple[str, ...]
    speakers: tuple[str, ...]
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]
    parts: tuple[str, ...]
    posteriors: np.ndarray


@dataclass(frozen=True)
class Score:
    """A score read back: its folder, the content of `score.json`, and the predictions it was computed from."""

    folder: Path
    record: dict[str, Any]
    predictions: Predictions


def check_complete(expected: Collection[str], got: Collection[str]) -> None:
    """Compare the utterances of a test set with those that were scored.

    Raises:
        SerError: an utterance is missing or extra (or scored twice); the message names the first ten of each.
    """
    missing, extra = sorted(set(expected) - set(got)), sorted(set(got) - set(expected))
    problems = []
    if missing:
        problems.append(f"{len(missing)} of {len(set(expected))} utterances have no score: {some(missing)}")
    if extra:
        problems.append(f"{len(extra)} scored utterances are not in the test set: {some(extra)}")
    if len(got) != len(set(got)):
        problems.append("an utterance was scored twice")
    if problems:
        raise SerError("; ".join(problems) + "; make the features of the test set again (stages 1 and 2), then score")


def average_by(groups: Sequence[str], posteriors: np.ndarray) -> tuple[list[str], list[int], np.ndarray]:
    """Average posteriors (N, C) over the rows of each group; return the G groups, the first row of each, and (G, C)."""
    names, first, index = np.unique(groups, return_index=True, return_inverse=True)
    sums = np.zeros((len(names), posteriors.shape[1]))
    np.add.at(sums, index, posteriors)
    return names.tolist(), first.tolist(), sums / np.bincount(index)[:, None]


def write_predictions(
    path: str | os.PathLike[str],
    utterances: Sequence[str],
    speakers: Sequence[str],
    reference: Sequence[str],
    posteriors: np.ndarray,
    classes: Sequence[str],
    parts: Sequence[str] | None = None,
) -> Predictions:
    """Write one tab-separated line per utterance, sorted by utterance, and return what was written.

    Columns: utterance, speaker, reference, hypothesis, parts where there are any, then the posterior of each class,
    rounded to 6 decimals. The hypothesis is the class of the highest posterior before rounding, the first one of
    several equal.

    Args:
        posteriors: (N, C), rows in the order of `utterances`, columns in the order of `classes`.
        parts: of each utterance, as in `Predictions`; None: nothing was joined.

    Raises:
        SerError: lists of different lengths, an utterance twice, a reference that is not one of `classes`, or
            posteriors that are not finite, not in [0, 1] or do not sum to 1.
    """
    posteriors = np.asarray(posteriors, dtype=np.float64)
    count = len(utterances)
    if not count or posteriors.shape != (count, len(classes)) or not count == len(speakers) == len(reference):
        raise SerError(
            f"{path}: {count} utterances, {len(speakers)} speakers, {len(reference)} references and posteriors of "
            f"shape {posteriors.shape} for {len(classes)} classes do not fit together"
        )
    order = sorted(range(count), key=lambda row: utterances[row].encode())
    hypothesis = [classes[column] for column in posteriors.argmax(axis=1)]
    columns = dict(zip(_FIXED_COLUMNS, (utterances, speakers, reference, hypothesis), strict=True))
    if parts is not None:
        columns[_PARTS] = parts
    lines = ["\t".join((*columns, *classes))]
    for row in order:
        fields = [column[row] for column in columns.values()]
        problem = _problem_with(fields, posteriors[row], classes)
        if problem:
            raise SerError(f"{path}: cannot write {utterances[row]}: {problem}")
        lines.append("\t".join((*fields, *(f"{value:.{_DECIMALS}f}" for value in posteriors[row]))))
    names = [utterances[row] for row in order]
    doubled = [name for name, following in pairwise(names) if name == following]
    if doubled:
        raise SerError(f"{path}: {some(doubled)} scored twice")
    write_text(path, "\n".join(lines) + "\n")
    written = (tuple(column[row] for row in order)
               for column in (utterances, speakers, reference, hypothesis, parts or utterances))
    return Predictions(tuple(classes), *written, posteriors[order])


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Read what `write_predictions` wrote; the posteriors come back rounded.

    Raises:
        SerError: anything is off: missing or cut file, wrong header, missing columns, unknown class, posterior that
            is no number or not in [0, 1], posteriors that do not sum to 1, a hypothesis that is not the likeliest
            class, an utterance twice. The message names the file and the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SerError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise SerError(f"{path}: not a UTF-8 text file ({error})") from None
    lines = text.split("\n")
    if lines.pop():
        raise SerError(f"{path}:{len(lines) + 1}: the last line is cut short")
    header = lines[0].split("\t") if lines else []
    fixed = len(_FIXED_COLUMNS) + (header[len(_FIXED_COLUMNS):][:1] == [_PARTS])
    classes = tuple(header[fixed:])
    if tuple(header[: len(_FIXED_COLUMNS)]) != _FIXED_COLUMNS or not classes or len(set(classes)) != len(classes):
        raise SerError(f"{path}:1: expected the header {' '.join(_FIXED_COLUMNS)} and a column for each class")
    rows: dict[str, list[str]] = {}
    posteriors: list[list[float]] = []
    for number, line in enumerate(lines[1:], 2):
        fields = line.split("\t")
        if len(fields) != len(header):
            raise SerError(f"{path}:{number}: {len(fields)} columns, not {len(header)}")
        if fields[0] in rows:
            raise SerError(f"{path}:{number}: {fields[0]} occurs twice")
        try:
            values = [float(field) for field in fields[fixed:]]
        except ValueError:
            raise SerError(f"{path}:{number}: a posterior of {fields[0]} is not a number") from None
        problem = _problem_with(fields[:fixed], values, classes)
        if problem:
            raise SerError(f"{path}:{number}: {fields[0]}: {problem}")
        rows[fields[0]] = fields
        posteriors.append(values)
    if not rows:
        raise SerError(f"{path}: holds no utterances")
    columns = list(zip(*(fields[:fixed] for fields in rows.values()), strict=True))
    if fixed == len(_FIXED_COLUMNS):
        columns.append(columns[0])  # nothing was joined
    return Predictions(classes, *columns, np.array(posteriors))


def write_score(
    run_dir: str | os.PathLike[str],
    test_set: str,
    utterances: Sequence[str],
    speakers: Sequence[str],
    reference: Sequence[str],
    posteriors: np.ndarray,
    classes: Sequence[str],
    checkpoint: Mapping[str, Any],
    dropped: int = 0,
    *,
    parts: Sequence[str] | None = None,
    left_out: int = 0,
    normalised_over: Mapping[str, int] | None = None,
    unknown_classes: Mapping[str, int] | None = None,
    other_classes: Sequence[str] = (),
) -> dict[str, Any]:
    """Write `<run_dir>/score_<test_set>/{predictions.tsv,score.json}` and return the content of `score.json`.

    An earlier score is withdrawn first, so that a job killed here leaves none rather than a wrong one.

    Args:
        posteriors: (N, C); see `write_predictions` for this and the other columns.
        checkpoint: `path` and `epoch` of the network, its figures on the development set (`dev_weighted_f1`, …), and
            whatever else is worth keeping, as JSON values; the path is recorded relative to `run_dir`.
        dropped: utterances of the test set's lists that have no features, and so are not among the N.
        normalised_over: for features normalised by speaker, how many recordings of each test speaker that took.
        left_out: utterances with features that the test has no use for, such as a diluted test of a speaker without a
            second neutral one; they are not among the N either.
        unknown_classes: of a network that was trained on another corpus, how many utterances are of each class that it
            does not know; they are not among the N either.
        other_classes: the classes that it knows and this corpus does not have.

    Raises:
        SerError: see `write_predictions`.
    """
    folder = score_folder(run_dir, test_set)
    (folder / "score.json").unlink(missing_ok=True)
    tsv = folder / "predictions.tsv"
    predictions = write_predictions(tsv, utterances, speakers, reference, posteriors, classes, parts)
    record = {
        "test_set": test_set,
        "utterances": len(predictions.utterances),
        "dropped": dropped,
        "left_out": left_out,
        "normalised_over": dict(normalised_over or {}),
        "unknown_classes": dict(unknown_classes or {}),
        "other_classes": list(other_classes),
        "classes": list(classes),
        "checkpoint": {
            **checkpoint,
            "path": os.path.relpath(checkpoint["path"], run_dir),
            "epoch": int(checkpoint["epoch"]),
        },
        "predictions_sha256": hashlib.sha256(tsv.read_bytes()).hexdigest(),
        **metrics(predictions.reference, predictions.hypothesis, classes),
    }
    write_text(folder / "score.json", json.dumps(record, indent=1) + "\n")
    return record


def recordings_used(normalised_over: Mapping[str, int]) -> str:
    """Return in words how many recordings of each speaker that was: `28 to 36 of each of 4 speakers`."""
    low, high = min(normalised_over.values()), max(normalised_over.values())
    number = f"{low}" if low == high else f"{low} to {high}"
    return f"{number} of each of {len(normalised_over)} speakers"


def write_no_score(run_dir: str | os.PathLike[str], test_set: str, reason: str) -> Path:
    """Write, in place of a score, a `score.json` that says why there is none; return its path."""
    path = score_folder(run_dir, test_set) / "score.json"
    path.with_name("predictions.tsv").unlink(missing_ok=True)
    write_text(path, json.dumps({"test_set": test_set, "utterances": 0, "reason": reason}) + "\n")
    return path


def reason_for_no_score(folder: str | os.PathLike[str]) -> str | None:
    """Return the reason that `write_no_score` left in a score's folder; None where there is a score, or a broken one.
    """
    try:
        record = json.loads((Path(folder) / "score.json").read_text(encoding="utf-8"))
        return record.get("reason")
    except (OSError, ValueError, AttributeError):
        return None


def score_folder(run_dir: str | os.PathLike[str], test_set: str) -> Path:
    """Return the folder of a run's score on a test set."""
    return Path(run_dir) / f"score_{test_set}"


def read_score(folder: str | os.PathLike[str]) -> Score:
    """Read `score.json` and `predictions.tsv` of a `score_<test set>` folder and check one against the other.

    What a `score.json` of an earlier version lacks is filled in: measures from the predictions, counts with 0, what
    lists something with nothing.

    Raises:
        SerError: a file is missing, cut, altered or mislabelled; the message names it.
    """
    folder = Path(folder)
    path, tsv = folder / "score.json", folder / "predictions.tsv"
    try:
        record = {"dropped": 0, "left_out": 0, **_NONE, **json.loads(path.read_text(encoding="utf-8"))}
        test_set, classes, digest = record["test_set"], tuple(record["classes"]), record["predictions_sha256"]
        count, confusion = int(record["utterances"]), record["confusion"]
        recorded = {name: float(record[name]) for name in MEASURES if name in record}
        if min(int(record["dropped"]), int(record["left_out"])) < 0 or {"path", "epoch"} - set(record["checkpoint"]):
            raise ValueError("dropped, left_out or checkpoint")
        record["normalised_over"] = {speaker: int(number) for speaker, number in record["normalised_over"].items()}
    except FileNotFoundError:
        raise SerError(f"{path}: no such file") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SerError(f"{path}: not a whole score file ({type(error).__name__}: {error})") from None
    if folder.name != score_folder("", test_set).name:
        raise SerError(f"{path}: says it scores {test_set}, but lies in {folder.name}")
    if not tsv.is_file():
        raise SerError(f"{tsv}: no such file")
    if hashlib.sha256(tsv.read_bytes()).hexdigest() != digest:
        raise SerError(f"{tsv}: is not the file that {path.name} was computed from")
    predictions = read_predictions(tsv)
    if predictions.classes != classes or len(predictions.utterances) != count:
        raise SerError(f"{path}: classes or number of utterances differ from {tsv.name}")
    computed = metrics(predictions.reference, predictions.hypothesis, classes)
    alike = all(abs(computed[name] - figure) <= 1e-9 for name, figure in recorded.items())  # false for NaN as well
    if not alike or computed["confusion"] != confusion:
        raise SerError(f"{path}: its figures do not follow from {tsv.name}")
    return Score(folder, record | computed, predictions)


def _problem_with(fields: Sequence[str], posteriors: Sequence[float], classes: Sequence[str]) -> str | None:
    """Say what is wrong with one line of predictions; None if nothing is."""
    if not all(fields):
        return "an empty field"
    for label in fields[2:4]:
        if label not in classes:
            return f"{label} is not one of the classes {' '.join(classes)}"
    if len(fields) > len(_FIXED_COLUMNS) and fields[0] not in fields[-1].split():
        return f"is not among its parts, {fields[-1]}"
    if not all(0 <= value <= 1 for value in posteriors):  # false for NaN as well
        return "a posterior is not a number from 0 to 1"
    # A float32 softmax is off by less than 1e-5; each rounded value adds up to half of the last decimal.
    if abs(sum(posteriors) - 1) > 1e-5 + 0.5 * 10**-_DECIMALS * len(classes):
        return f"its posteriors sum to {sum(posteriors):.6f}, not 1"
    if posteriors[classes.index(fields[3])] < max(posteriors) - 10**-_DECIMALS:
        return f"the hypothesis {fields[3]} is not the class of the highest posterior"
    return None
