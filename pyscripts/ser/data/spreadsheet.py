"""Tables as people keep them: CSV or TSV files, by whatever program they were saved.

Commas, semicolons and tabs are told apart by the first line, which names the columns; a byte order mark and Excel's
`sep=` line do no harm. Rows are numbered as in a spreadsheet: the line of the column names is row 1.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ser.base.errors import SerError
from ser.base.problems import Problems

_DELIMITERS = ",;\t"


def read_rows(
    path: Path, names: Mapping[str, Sequence[str]], needed: Collection[str]
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read the columns of a table that play a role.

    Args:
        names: what the column of each role may be called, in any capitals; all other columns are ignored.
        needed: roles without whose column the table is no use.

    Returns:
        The roles that have a column, and the number of each row that is not empty with the value of each role.

    Raises:
        SerError: the file is no table, lacks a column or has two of a role, or a row has other columns than the first.
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
        columns = _columns(path, header, names, needed)
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
    return list(columns), [(number, {role: fields[column].strip() for role, column in columns.items()})
                           for number, fields in lines]


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


def _columns(
    path: Path, header: Sequence[str], known: Mapping[str, Sequence[str]], needed: Collection[str]
) -> dict[str, int]:
    """Return the column of each role, counted from 0."""
    names = [name.strip().casefold() for name in header]
    columns: dict[str, int] = {}
    problems = Problems(path)
    for role, called in known.items():
        found = [column for column, name in enumerate(names) if name in called]
        if len(found) > 1:
            twice = " and ".join(f"'{header[column].strip()}'" for column in found)
            problems.add(path, [(1, f"columns {twice} both mean the {role}")], "rename or remove one of them")
        elif found:
            columns[role] = found[0]
        elif role in needed:
            problems.add(path, [(1, f"no column is called {' or '.join(called)}; there are: {', '.join(header)}")],
                         f"name the columns in the first line, and that of the {role} {called[0]}")
    problems.raise_any()
    return columns
