"""Releases of telephone corpora: their folders, and the tables that name the speakers."""

from __future__ import annotations

import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ser.base.errors import SerError
from ser.base.words import some
from ser.data import corpus

CHANNELS = {"a": 0, "b": 1, "1": 0, "2": 1}


@dataclass(frozen=True)
class Side:
    """One side of one call; `where` is the file and line that names the speaker."""

    speaker: str
    path: str
    channel: int
    where: str


class Release:
    """The files in the folders of one release: paths of SPHERE files by stem, and of tables by name."""

    def __init__(self, name: str, folders: Iterable[Path]) -> None:
        self.name = name
        self.audio: dict[str, list[str]] = defaultdict(list)
        self.tables: dict[str, list[Path]] = defaultdict(list)
        self.folders = list(folders)
        for folder in self.folders:
            for parent, _, names in os.walk(folder, followlinks=True):
                for file in names:
                    stem, ending = os.path.splitext(file)
                    if ending.lower() == ".sph" and not file.startswith("."):
                        self.audio[stem].append(os.path.join(parent, file))
                    elif not file.startswith("."):
                        self.tables[file].append(Path(parent, file))
        if not self.audio:
            raise SerError(f"{self}: no SPHERE files (*.sph) below; name the unpacked release")

    def __str__(self) -> str:
        return ", ".join(map(str, self.folders))

    def table(self, name: str, remedy: str) -> Path:
        """Return the path of the table of this name; several discs may have copies of it.

        Raises:
            SerError: there is none, or two tables of that name differ.
        """
        paths = self.tables.get(name, [])
        if not paths:
            raise SerError(f"{self}: no {name} below, the table of {self.name} that says who speaks; {remedy}")
        if len({path.read_bytes() for path in paths}) > 1:
            raise SerError(f"{paths[0]} and {paths[-1]} differ; keep the right one")
        return paths[0]

    def file(self, stem: str, where: str) -> str | None:
        """Return the path of the SPHERE file with that stem, None if there is none.

        Raises:
            SerError: two files have that stem.
        """
        paths = self.audio.get(stem, [])
        if len(paths) > 1:
            raise SerError(f"{where}: {stem} may be {paths[0]} or {paths[1]}; keep one of the two")
        return paths[0] if paths else None


def read_folders(words: str, base: Path, catalogue: dict[str, str], option: str) -> dict[str, Release]:
    """Return the releases of `[NAME=]DIR …`, by name; the default name follows from the catalogue number in the path.

    Raises:
        SerError: a folder does not exist, or has neither name nor catalogue number.
    """
    folders: dict[str, list[Path]] = defaultdict(list)
    for word in shlex.split(words):
        name, equals, path = word.partition("=")
        if not equals:
            name, path = "", word
        folder = base / path
        if not folder.is_dir():
            raise SerError(f"{option}: {folder}: no such folder")
        numbers = [number for number in catalogue if number.lower() in str(folder).lower()]
        if not name and len(numbers) == 1:
            name = catalogue[numbers[0]]
        if name not in catalogue.values():
            known = ", ".join(dict.fromkeys(catalogue.values()))
            raise SerError(f"{option}: cannot tell which release {folder} is; say so, as NAME={path} with NAME one of "
                           f"{known}")
        folders[name].append(folder)
    return {name: Release(name, of_name) for name, of_name in sorted(folders.items())}


def read_lines(path: Path, separator: str | None) -> Iterator[tuple[str, list[str]]]:
    """Yield file and line, and the fields, of every line that is not blank; None separates at blanks."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path}:{number}", [field.strip() for field in line.split(separator)]


def read_table(path: Path, base: Path) -> tuple[list[Side], list[tuple[str, str, str, int, str]]]:
    """Read a table of speakers, of lines in one of two forms.

    The forms are `<speaker> <sphere file> <A|B|1|2>`, with a full path or one relative to `base`, and openslr.org/15's
    `<speaker> <m|f> <sre2004…> <file's stem> <A|B>`.

    Returns:
        The sides of all lines of the first form, and (speaker, year, stem, channel, file and line) of all lines of the
        second.

    Raises:
        SerError: a line has neither form, or its file does not exist.
    """
    if not path.is_file():
        raise SerError(f"{path}: no such table of speakers")
    sides, listed = [], []
    for where, fields in read_lines(path, None):
        channel = CHANNELS.get(fields[-1].lower())
        year = re.fullmatch(r"sre(20\d\d)", fields[2]) if len(fields) == 5 else None
        if channel is None or not (len(fields) == 3 or year):
            raise SerError(f"{where}: expected <speaker> <sphere file> <A|B|1|2>, found {' '.join(fields)!r}")
        if year:
            listed.append((fields[0], year[1], fields[3], channel, where))
            continue
        file = base / fields[1]
        if not file.is_file():
            raise SerError(f"{where}: {file}: no such file; correct the path, or remove the line")
        sides.append(Side(fields[0], str(file), channel, where))
    if not sides and not listed:
        raise SerError(f"{path}: is empty")
    return sides, listed


def reported(sides: list[Side], absent: list[str], release: Release, table: str) -> list[Side]:
    """Return `sides`; print which files the table names that are absent, and which files it does not name."""
    if not sides:
        raise SerError(f"{release}: no file named by {table} is here; complete the release")
    if absent:
        absent = sorted(set(absent))
        corpus.warn(f"{release}: {len(absent)} files are named by {table} but not here, and left out: "
                    f"{some(absent)}")
    used = {side.path for side in sides}
    if unnamed := sorted(path for paths in release.audio.values() for path in paths if path not in used):
        print(f"{release}: {len(unnamed)} SPHERE files are left out, not named by {table}: "
              f"{some(unnamed)}")
    return sides
