"""Kaldi's text tables: one `key value…` line per entry, sorted by key in the C locale."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ser.base.errors import SerError
from ser.base.files import write_text


def read_table(path: str | os.PathLike[str], sorted_keys: bool = True) -> dict[str, str]:
    """Read `key value…` lines into a dict from key to the rest of the line, in file order.

    Raises:
        SerError: the file is missing or empty, is not UTF-8, a line has no value (in `text` it may lack one), a key
            occurs twice, or (with `sorted_keys`) the keys are not in C-locale order. The message names the file, the
            line and the remedy.
    """
    path = Path(path)
    try:
        # Kaldi's lines end at "\n" alone; splitlines() would also break them at exotic separators.
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise SerError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise SerError(f"{path}: not a UTF-8 text file ({error})") from None
    if lines == [""]:
        raise SerError(f"{path}: is empty; make it again")
    table: dict[str, str] = {}
    previous = b""
    for number, line in enumerate(lines, 1):
        key, value = (*line.split(None, 1), "", "")[:2]
        if not key or (not value and path.name != "text"):  # somebody may have said nothing
            raise SerError(f"{path}:{number}: expected 'key value', found {line!r}")
        if key in table:
            raise SerError(f"{path}:{number}: {key} occurs twice; keep one of the lines")
        if sorted_keys and key.encode() < previous:
            raise SerError(
                f"{path}:{number}: {key} is out of order; run utils/fix_data_dir.sh {path.parent} (LC_ALL=C sort)"
            )
        previous = key.encode()
        table[key] = value.rstrip()
    return table


def write_table(path: str | os.PathLike[str], table: Mapping[str, object]) -> None:
    """Write a table sorted in the C locale, atomically. Equal content gives equal bytes."""
    write_text(path, "".join(f"{key} {table[key]}\n" for key in sorted(table, key=str.encode)))
