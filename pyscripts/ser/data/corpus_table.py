"""A corpus that is a table: a CSV or TSV file whose rows name recordings, or pieces of them, and their emotions.

The first line names the columns. A path and an emotion are needed; speaker, split, start, end and text are used where
they are there, under any of the names of `COLUMNS`, and all other columns are ignored. Paths count from the table's
folder. Commas, semicolons and tabs are told apart by the first line; a byte order mark and Excel's `sep=` line do no
harm. Rows are numbered as in a spreadsheet: the line of the column names is row 1.
"""

from __future__ import annotations

import csv
import io
import os
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ser.base.errors import SerError
from ser.base.problems import Location, Problems
from ser.base.words import some
from ser.data import corpus
from ser.data.audio import OVERSHOOT_SECONDS
from ser.data.corpus import EmotionRecording
from ser.data.speaker_splits import FEWEST_FOLDS

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
_DELIMITERS = ",;\t"
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
    columns, lines = _columns_and_lines(path)
    if not no_speakers and "speaker" not in columns:
        raise SerError(
            f"{path}:1: no column says who speaks; add one ({', '.join(COLUMNS['speaker'])}), or if nobody knows, give "
            "--no-speakers true: the test will have voices of the training then, and its scores will be optimistic"
        )
    problems = Problems(path)
    wrong: dict[str, list[Location]] = defaultdict(list)  # by remedy
    rows = []
    for number, fields in lines:
        values = {role: fields[column].strip() for role, column in columns.items()}
        row, problem = _parse(path.parent, number, values, no_speakers)
        if problem is None and row is not None:
            rows.append(row)
        else:
            what, remedy = problem
            wrong[remedy].append((number, what))
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
    return Table(path, tuple(rows), tuple(columns), folds)


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
    columns, lines = _columns_and_lines(path, ("path",))
    rows = [(number, {role: fields[column].strip() for role, column in columns.items()}) for number, fields in lines]
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


def _columns_and_lines(
    path: Path, needed: Collection[str] = _NEEDED
) -> tuple[dict[str, int], list[tuple[int, list[str]]]]:
    """Return the column of each role, and the number and fields of each line that has any.

    Raises:
        SerError: the file is no table, lacks a column, or a line has other columns than the first.
    """
    text = _text(path)
    first, skipped = text.split("\n", 1)[0].strip(), 0
    if re.fullmatch(r"sep=.", first):  # Excel's
        text, skipped = text.split("\n", 1)[-1], 1
        first = text.split("\n", 1)[0].strip()
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines: list[tuple[int, list[str]]] = []
    try:
        header = next(reader, [])
        columns = _columns(path, header, needed)
        for fields in reader:
            if any(field.strip() for field in fields):
                lines.append((reader.line_num + skipped, fields))
    except csv.Error as error:
        raise SerError(f"{path}:{reader.line_num + skipped}: {error}; close the quotes of that row, or save the table "
                       "again") from None
    problems = Problems(path)
    uneven = [(number, f"{len(fields)} columns where the first line has {len(header)}")
              for number, fields in lines if len(fields) != len(header)]
    problems.add(path, uneven, f"put a value that contains {delimiter!r} in double quotes, or complete the row")
    problems.raise_any()
    return columns, lines


def _text(path: Path) -> str:
    """Return the table's text, with line ends as "\\n"."""
    remedy = 'save it as "CSV UTF-8"'
    if path.is_dir():
        tables = sorted(child.name for child in path.iterdir() if child.suffix.lower() in (".csv", ".tsv"))
        hint = f"; did you mean {path / tables[0]}?" if tables else ""
        raise SerError(f"{path}: is a folder; name the table of its recordings, a CSV or TSV file{hint}")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SerError(f"{path}: no such table; --corpus-dir names a CSV or TSV file with a path and an emotion in "
                       "each row") from None
    if content.startswith(b"PK"):
        raise SerError(f"{path}: is a spreadsheet, not text; {remedy} in the program that made it")
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))  # Excel's "Unicode text"
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise SerError(f"{path}:{row}: not UTF-8 text (byte {content[error.start]:#04x}, as in Latin-1); {remedy}, or "
                       f"convert it: iconv -f LATIN1 -t UTF-8 {path} > new.csv") from None
    if "\0" in text:
        raise SerError(f"{path}: has zero bytes, so it is no text; {remedy}")
    if not text.strip():
        raise SerError(f"{path}: is empty; write column names, and a recording in each row")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _columns(path: Path, header: Sequence[str], needed: Collection[str]) -> dict[str, int]:
    names = [name.strip().casefold() for name in header]
    columns: dict[str, int] = {}
    problems = Problems(path)
    for role, known in COLUMNS.items():
        found = [column for column, name in enumerate(names) if name in known]
        if len(found) > 1:
            twice = " and ".join(f"'{header[column].strip()}'" for column in found)
            problems.add(path, [(1, f"columns {twice} both mean the {role}")], "rename or remove one of them")
        elif found:
            columns[role] = found[0]
        elif role in needed:
            problems.add(path, [(1, f"no column is called {' or '.join(known)}; there are: {', '.join(header)}")],
                         f"name the columns in the first line, and that of the {role} {known[0]}")
    problems.raise_any()
    return columns


def _parse(
    folder: Path, number: int, values: Mapping[str, str], no_speakers: bool
) -> tuple[Row | None, tuple[str, str] | None]:
    """Return a row, or what is wrong with it and the remedy."""
    name, emotion = values["path"], emotion_name(values["emotion"])
    if not name:
        return None, ("no path", _FILL_PATH)
    if not emotion:
        return None, (f"no emotion of {name}", "fill the emotion in, or remove the row")
    if not re.fullmatch(r"[\w.+-]+", emotion):
        return None, (f"emotion {values['emotion']!r}", "name emotions in letters, digits, '_', '.', '+' and '-'")
    if not no_speakers and not values["speaker"]:
        return None, (f"no speaker of {name}", "fill the speaker in, or remove the row")
    if "split" in values and not values["split"]:
        return None, (f"no split of {name}", "fill the split in, or remove the row")
    try:
        start, end = _times(name, values)
    except _Wrong as error:
        return None, (str(error), error.remedy)
    if "\n" in name or name.endswith("|"):
        return None, (f"path {name!r}", "rename that file")
    path = _place(folder, name)
    text = " ".join(values.get("text", "").split())
    speaker = "" if no_speakers else values["speaker"]
    return Row(number, path, emotion, speaker, values.get("split", ""), start, end, text), None


class _Wrong(Exception):
    """What is wrong with a row, and the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


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
        who = _who(row)
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


def recordings(table: Table) -> dict[EmotionRecording, int]:
    """Return the recordings of a table and the row of each.

    Ids are `<speaker>-<file>`, of pieces `<speaker>-<file>-<start in ms>`, with a checksum where two would be alike.
    Where nobody knows the speakers, the file stands for its speaker.

    Raises:
        SerError: two speakers' names become the same id.
    """
    speakers = _speaker_ids(table)
    ids = {}
    for row in table.rows:
        name = speakers[_who(row)] + (f"-{corpus.slug(row.path.stem)}" if row.speaker else "")
        ids[row] = name + (f"-{round(1000 * row.start):07d}" if row.start or row.end is not None else "")
    alike = Counter(ids.values())
    found = {}
    for row, name in ids.items():
        if alike[name] > 1:
            name += f"-{_checksum(f'{row.path} {row.start} {row.end}')}"
        piece = (row.path, row.start, row.end, row.text)
        found[EmotionRecording(name, speakers[_who(row)], row.emotion, *piece)] = row.number
    return found


def _who(row: Row) -> str:
    """Return who speaks: the speaker, or the file where nobody knows."""
    return row.speaker or str(row.path)


def _speaker_ids(table: Table) -> dict[str, str]:
    """Return the id of each speaker."""
    first = {_who(row): row for row in reversed(table.rows)}
    ids = {who: corpus.slug(row.speaker or row.path.stem) for who, row in first.items()}
    alike = Counter(ids.values())
    for who, name in ids.items():
        if alike[name] == 1:
            continue
        if first[who].speaker:
            alike_rows = (row for other, row in first.items() if ids[other] == name)
            one, two = sorted(alike_rows, key=lambda row: row.number)[:2]
            raise SerError(f"{table.path}:{two.number}: speaker '{two.speaker}' cannot be told from '{one.speaker}' of "
                           f"row {one.number} by an id, which is {name} for both; rename one of them")
        ids[who] = f"{name}_{_checksum(who)}"
    return ids


def _checksum(text: str) -> str:
    return f"{zlib.crc32(os.fsencode(text)):08x}"


def measure(
    table: Table, found: Mapping[EmotionRecording, int], jobs: int, allow_partial: bool
) -> dict[str, float]:
    """Return the seconds of each recording, by utterance.

    Raises:
        SerError: files are missing or no audio, or pieces are not inside theirs; each is named with its row. With
            `allow_partial` they are named in a warning and are absent from the result.
    """
    files = {recording.path: recording for recording in reversed(found)}
    lengths = corpus.measure(
        list(files.values()), jobs, allow_partial,
        lambda recording: f"{recording.path} (row {found[recording]})",  # type: ignore[index]
    )
    length = {path: lengths[recording.utterance] for path, recording in files.items() if recording.utterance in lengths}
    seconds, outside = {}, []
    for recording, number in found.items():
        if recording.path not in length:
            continue
        whole = length[recording.path]
        end = whole if recording.end is None else recording.end
        if recording.start >= whole or end > whole + OVERSHOOT_SECONDS:
            outside.append((number, f"{recording.path.name} is {whole:.3f} s long, and the row's piece is from "
                                    f"{recording.start:g} to {end:g} s"))
        else:
            seconds[recording.utterance] = min(end, whole) - recording.start
    problems = Problems(table.path)
    problems.add(table.path, outside, "correct the times"
                 + ("" if allow_partial else ", or leave such pieces out with --allow-partial true"))
    if not allow_partial:
        problems.raise_any()
    for message in problems.found:
        corpus.warn(f"{message}; left out")
    return seconds
