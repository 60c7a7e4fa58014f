"""A corpus that is a table: a CSV or TSV file whose rows name recordings, or pieces of them, and their emotions.

The first line names the columns. A path and an emotion are needed; speaker, split, start, end and text are used where
they are there, under any of the names of `COLUMNS`, and all other columns are ignored. Paths count from the table's
folder.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ser.base.errors import SerError
from ser.base.problems import Location, Problems
from ser.base.words import some
from ser.data.speaker_splits import FEWEST_FOLDS
from ser.data.spreadsheet import read_rows

COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "wav", "filename", "file_name", "audio"),
    "emotion": ("emotion", "label", "emo"),
    "speaker": ("speaker", "spk", "subject", "speaker_id", "spk_id"),
    "split": ("split", "partition", "fold"),
    "start": ("start", "begin"),
    "end": ("end",),
    "text": ("text", "transcript", "transcription"),
}
_NEEDED = ("path", "emotion")
_FILL_PATH = "fill the path in, or remove the row"
_SPLITS = {
    "train": "train", "training": "train",
    "dev": "dev", "devel": "dev", "development": "dev", "val": "dev", "valid": "dev", "validation": "dev",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
_FOLD = re.compile(r"(?:fold[ _-]?)?(\d+)")
_CLOCK = re.compile(r"(?:(\d+) days? )?(?:(\d+):)?(\d+):(\d+(?:\.\d*)?)")  # what pandas and audformat write


@dataclass(frozen=True)
class Row:
    """One row: the piece from `start` to `end` in s (None: the end) of a file. `speaker`, `split`, `text` may be ''."""

    number: int
    path: Path
    emotion: str
    speaker: str
    split: str
    start: float
    end: float | None
    text: str


@dataclass(frozen=True)
class Table:
    """The rows of a table, and what its splits are.

    Attributes:
        path: of the table.
        rows: in the table's order.
        roles: the columns used, by the names of `COLUMNS`.
        folds: numbers of the folds in the column of splits, in order; empty where it says train, dev, test, or nothing.
    """

    path: Path
    rows: tuple[Row, ...]
    roles: tuple[str, ...]
    folds: tuple[int, ...] = ()

    @property
    def emotions(self) -> list[str]:
        """The emotions that occur, sorted."""
        return sorted({row.emotion for row in self.rows})


def emotion_name(text: str) -> str:
    """Return an emotion as the name of a class: in small letters, blanks as '_'."""
    return "_".join(text.casefold().split())


def read(path: Path, no_speakers: bool = False) -> Table:
    """Read a table.

    Args:
        no_speakers: nobody knows the speakers: each file counts as the only one of a speaker of its own.

    Raises:
        SerError: all problems of the table, each with file, row and remedy.
    """
    roles, lines = read_rows(path, COLUMNS, _NEEDED)
    if not no_speakers and "speaker" not in roles:
        raise SerError(
            f"{path}:1: no column says who speaks; add one ({', '.join(COLUMNS['speaker'])}), or if nobody knows, give "
            "--no-speakers true: the test will have voices of the training then, and its scores will be optimistic"
        )
    problems = Problems(path)
    wrong: dict[str, list[Location]] = defaultdict(list)  # by remedy
    rows = []
    for number, values in lines:
        try:
            rows.append(_parse(path.parent, number, values, no_speakers))
        except _Wrong as error:
            wrong[error.remedy].append((number, str(error)))
    for remedy, locations in wrong.items():
        problems.add(path, locations, remedy)
    if not rows and not wrong:
        problems.add(path, what="has no rows under its column names", remedy="name a recording in each row")
    problems.add(path, list(_repeated(rows)), "keep one of the rows")
    folds, splits, bad = _splits(rows)
    problems.add(path, bad, "a split is train, dev or test in every row, or the number of a fold in every row")
    rows = [replace(row, split=splits.get(row.split.casefold(), row.split)) for row in rows]
    if not bad and not wrong:
        problems.add(path, list(_shared_speakers(rows)),
                     "scores would not be of new speakers: give every speaker one split")
        used = {row.split for row in rows} - {""}
        if folds and len(folds) < FEWEST_FOLDS:
            problems.add(path, what=f"has {len(folds)} folds", remedy=f"make it {FEWEST_FOLDS} or more, or name the "
                         "splits train, dev and test, or remove the column")
        elif used and not folds and (absent := {"train", "test"} - used):
            problems.add(path, what=f"has no row in {' and none in '.join(sorted(absent))}",
                         remedy="complete the column of splits, or remove it to have folds drawn")
    problems.raise_any()
    return Table(path, tuple(rows), tuple(roles), folds)


@dataclass(frozen=True)
class Piece:
    """From `start` to `end` in s (None: the end) of a file; `speaker` is '' where no column says who speaks."""

    path: Path
    start: float
    end: float | None
    speaker: str


def read_pieces(path: Path) -> list[Piece]:
    """Return the pieces of files that the rows of a table name, which needs no emotions.

    Raises:
        SerError: the table cannot be read, or a row has no path, or its times are wrong.
    """
    _, rows = read_rows(path, COLUMNS, ("path",))
    problems = Problems(path)
    problems.add(path, [(number, "no path") for number, row in rows if not row["path"]], _FILL_PATH)
    pieces, wrong = [], defaultdict(list)
    for number, row in rows:
        try:
            place, times = _place(path.parent, row["path"]), _times(row["path"], row)
        except _Wrong as error:
            wrong[error.remedy].append((number, str(error)))
        else:
            pieces.append(Piece(place, *times, row.get("speaker", "")))
    for remedy, locations in wrong.items():
        problems.add(path, locations, remedy)
    problems.raise_any()
    return pieces


class _Wrong(Exception):
    """What is wrong with a row, and the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


def _parse(folder: Path, number: int, values: Mapping[str, str], no_speakers: bool) -> Row:
    """Return a row. Raises _Wrong."""
    name, emotion = values["path"], emotion_name(values["emotion"])
    if not name:
        raise _Wrong("no path", _FILL_PATH)
    if not emotion:
        raise _Wrong(f"no emotion of {name}", "fill the emotion in, or remove the row")
    if not re.fullmatch(r"[\w.+-]+", emotion):
        raise _Wrong(f"emotion {values['emotion']!r}", "name emotions in letters, digits, '_', '.', '+' and '-'")
    if not no_speakers and not values["speaker"]:
        raise _Wrong(f"no speaker of {name}", "fill the speaker in, or remove the row")
    if "split" in values and not values["split"]:
        raise _Wrong(f"no split of {name}", "fill the split in, or remove the row")
    start, end = _times(name, values)
    if "\n" in name or name.endswith("|"):
        raise _Wrong(f"path {name!r}", "rename that file")
    path = _place(folder, name)
    text = " ".join(values.get("text", "").split())
    speaker = "" if no_speakers else values["speaker"]
    return Row(number, path, emotion, speaker, values.get("split", ""), start, end, text)


def _times(name: str, values: Mapping[str, str]) -> tuple[float, float | None]:
    """Return where a row's piece of a file begins and ends, in s; None: at the file's end."""
    try:
        start, end = _seconds(values.get("start", "")) or 0.0, _seconds(values.get("end", ""))
    except ValueError as error:
        raise _Wrong(f"{error} is no time", "write times in seconds: 12.5") from None
    if end is not None and end <= start:
        raise _Wrong(f"{name} ends at {end:g} s and starts at {start:g} s", "correct the times")
    return start, end


def _place(folder: Path, name: str) -> Path:
    """Return the absolute path of a file that a table in a folder names."""
    if "\\" in name and not (folder / name).exists():  # a table made under Windows
        name = name.replace("\\", "/")
    return Path(os.path.abspath(folder / name))


def _seconds(text: str) -> float | None:
    """Return a time in seconds: 12.5 (or 12,5), 0:00:12.5, 0 days 00:00:12.5; None where there is none."""
    if text in ("", "NaT", "nan"):
        return None
    if match := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not re.fullmatch(r"\d+(?:[.,]\d*)?", text):
        raise ValueError(repr(text))
    return float(text.replace(",", "."))


def _repeated(rows: Iterable[Row]) -> Iterator[Location]:
    seen: dict[tuple[Path, float, float | None], Row] = {}
    for row in rows:
        key = row.path, row.start, row.end
        first = seen.setdefault(key, row)
        if first is not row:
            unlike = f", {first.emotion} there and {row.emotion} here" if first.emotion != row.emotion else ""
            yield row.number, f"{row.path.name} is in row {first.number} already{unlike}"


def _splits(rows: Sequence[Row]) -> tuple[tuple[int, ...], dict[str, str], list[Location]]:
    """Return the folds' numbers, the meaning of each value of the column of splits, and rows with other values."""
    values = {row.split.casefold() for row in rows} - {""}
    folds = {value: match[1] for value in values if (match := _FOLD.fullmatch(value))}
    if len(folds) * 2 > len(values):
        known = {value: str(int(number)) for value, number in folds.items()}
    else:
        known, folds = {value: _SPLITS[value] for value in values if value in _SPLITS}, {}
    bad = [(row.number, f"{row.split!r} is no split") for row in rows if row.split.casefold() not in {"", *known}]
    return tuple(sorted({int(number) for number in folds.values()})), known, bad


def _shared_speakers(rows: Iterable[Row]) -> Iterator[Location]:
    """Yield the first row of each speaker, or file if there are none, who is in another split already."""
    first: dict[str, Row] = {}
    named = set()
    for row in rows:
        who = who_speaks(row)
        before = first.setdefault(who, row)
        if before.split != row.split and who not in named:
            named.add(who)
            yield row.number, (f"{'speaker' if row.speaker else 'a piece of'} {who} is in {row.split} here and in "
                               f"{before.split} in row {before.number}")


def select(table: Table, rename: Mapping[str, str], emotions: Sequence[str]) -> Table:
    """Return the rows of the emotions wanted, after some are renamed.

    Args:
        rename: new names of emotions; two that get one name are joined.
        emotions: those to keep, by their new names; none keeps all.

    Raises:
        SerError: an emotion named does not occur, or fewer than two are left.
    """
    if unknown := [name for name in rename if name not in table.emotions]:
        raise SerError(f"--rename: no row of {table.path} is {some(unknown)}; the emotions are "
                       f"{some(table.emotions, 30)}")
    table = replace(table, rows=tuple(replace(row, emotion=rename.get(row.emotion, row.emotion)) for row in table.rows))
    if unknown := [name for name in emotions if name not in table.emotions]:
        raise SerError(f"--emotions: no row of {table.path} is {some(unknown)}; the emotions are "
                       f"{some(table.emotions, 30)}")
    if emotions:
        table = replace(table, rows=tuple(row for row in table.rows if row.emotion in emotions))
    if len(table.emotions) < 2:
        raise SerError(f"{table.path}: all {len(table.rows)} rows are {table.emotions[0]}; a recogniser needs two "
                       "emotions to tell apart: add rows of another")
    return table


def who_speaks(row: Row) -> str:
    """Return who speaks: the speaker, or the file where nobody knows."""
    return row.speaker or str(row.path)
