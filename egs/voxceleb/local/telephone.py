"""Telephone speech for training: NIST SRE 2004 to 2010 and Switchboard as LDC publishes them.

A recording is a SPHERE file of two channels, one a side of the call, each with its speaker. Who speaks is in tables
that come with each release (or, for SRE 2004 to 2006, with openslr.org/15); which columns they have was taken from
published recipes for these corpora, and every table is checked for what can be checked. What has another shape can be
given as a plain table of our own, see `read_table`.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ser.base.errors import SerError
from ser.base.progress import progress
from ser.data import corpus
from ser.data import speaker_corpus as speakers
from ser.data.speaker_corpus import Recording

CHANNELS = {"a": 0, "b": 1, "1": 0, "2": 1}
FFMPEG = ('ffmpeg -nostdin -v error -xerror -threads 1 -i {{}} -af "pan=mono|c0=c{channel}" -c:a pcm_s16le -f wav - |')
SPH2PIPE = "sph2pipe -f wav -p -c {number} {{}} |"
SRE_CATALOGUE = {
    "LDC2006S44": "2004", "LDC2011S01": "2005", "LDC2011S04": "2005", "LDC2011S09": "2006", "LDC2011S10": "2006",
    "LDC2012S01": "2006", "LDC2011S05": "2008", "LDC2011S08": "2008", "LDC2017S06": "2010",
}  # fmt: skip
SWBD_CATALOGUE = {
    "LDC98S75": "phase1", "LDC99S79": "phase2", "LDC2002S06": "phase3", "LDC2001S13": "cellular1",
    "LDC2004S07": "cellular2",
}  # fmt: skip
SRE08_MODELS, SRE08_TRIALS = "NIST_SRE08_short2.model.key", "NIST_SRE08_short2-short3.trial.key"
SRE10_MODELS, SRE10_TRIALS = "coreext.modelkey.csv", "coreext-coreext.trialkey.csv"
SRE10_SEGMENTS = "coreext.trn"
SPEAKER_LIST = "speaker_list"


@dataclass(frozen=True)
class Side:
    """One side of one call; `where` is the file and line that says who speaks."""

    speaker: str
    path: str
    channel: int
    where: str


@dataclass(frozen=True)
class CallTable:
    """Columns, from 0, of a table of calls of Switchboard: the call, its two speakers, their sexes."""

    name: str
    call: int
    speakers: tuple[int, int]
    sexes: tuple[int, int]
    prefix: str = ""  # of the file name before the call
    bad: tuple[str, ...] = ()  # calls whose audio is known to be unusable


SWBD_TABLES = {
    "phase1": CallTable("callstat.tbl", 0, (2, 3), (5, 6)),
    "phase2": CallTable("callstat.tbl", 0, (2, 3), (4, 5)),
    "phase3": CallTable("callstat.tbl", 0, (3, 4), (5, 6), "sw_"),
    "cellular1": CallTable("swb_callstats.tbl", 0, (1, 2), (3, 4), "sw_", ("40019", "40022", "45024")),
    "cellular2": CallTable("swb_callstats.tbl", 0, (1, 2), (3, 4), "sw_", ("40022", "45024")),
}


class Release:
    """The folders of one release, searched once: SPHERE files by stem, and tables by name."""

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
        """The one table of this name; discs may repeat it.

        Raises:
            SerError: it is not there, or two of the name differ.
        """
        paths = self.tables.get(name, [])
        if not paths:
            raise SerError(f"{self}: no {name} below, the table of {self.name} that says who speaks; {remedy}")
        if len({path.read_bytes() for path in paths}) > 1:
            raise SerError(f"{paths[0]} and {paths[-1]} differ; keep the right one")
        return paths[0]

    def file(self, stem: str, where: str) -> str | None:
        """The SPHERE file of that stem, None if there is none.

        Raises:
            SerError: two files have it.
        """
        paths = self.audio.get(stem, [])
        if len(paths) > 1:
            raise SerError(f"{where}: {stem} may be {paths[0]} or {paths[1]}; keep one of the two")
        return paths[0] if paths else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for option, what, example, table in (
        ("sre", "NIST SRE 2004 to 2010", "2004=DIR", "a table <speaker> <sphere file> <A|B|1|2>, or openslr.org/15's"),
        ("swbd", "Switchboard", "cellular1=DIR", "a table <speaker> <sphere file> <A|B|1|2>"),
    ):
        parser.add_argument(f"--{option}-dirs", default="", metavar='"DIR…"',
                            help=f"releases of {what}, each with the LDC catalogue number in its path, or {example}")
        parser.add_argument(f"--{option}-table", default="", metavar="FILE", help=f"who speaks: {table}")


def find(args: argparse.Namespace, folder: Path) -> list[Recording]:
    """All sides of all calls asked for; relative paths count from `folder`.

    Raises:
        SerError: what is asked for is not there, a table or a SPHERE header is malformed, or a decoder is missing.
    """
    sre_table, swbd_table = args.sre_table, args.swbd_table
    found = []
    if args.sre_dirs or sre_table:
        speakers.require_ffmpeg("SRE comes as SPHERE files that it must decode")
        sides = sre_sides(read_folders(args.sre_dirs, folder, SRE_CATALOGUE, "--sre-dirs"),
                          folder / sre_table if sre_table else None, folder)
        found += recordings(sides, "sre", args.allow_partial)
    if args.swbd_dirs or swbd_table:
        speakers.require_ffmpeg("Switchboard comes as SPHERE files that it must decode")
        sides = swbd_sides(read_folders(args.swbd_dirs, folder, SWBD_CATALOGUE, "--swbd-dirs"),
                           folder / swbd_table if swbd_table else None, folder)
        found += recordings(sides, "swbd", args.allow_partial)
    return found


def read_folders(words: str, base: Path, catalogue: dict[str, str], option: str) -> dict[str, Release]:
    """The releases of `[NAME=]DIR …`, by name; without a name it is the one of the catalogue number in the path.

    Raises:
        SerError: no such folder, or no telling which release it is.
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


def sre_sides(releases: dict[str, Release], table: Path | None, base: Path) -> list[Side]:
    """Sides of SRE; speaker numbers of different years are one series, as LDC's Mixer gave them out."""
    remedy = "complete the release, or give who speaks as a table with --sre-table"
    sides: list[Side] = []
    plain, listed = read_table(table, base) if table else ([], [])
    sides += plain
    years = {row[1] for row in listed}
    for name, release in releases.items():
        if name in years:
            sides += listed_sides(listed, release)
        elif name == "2008":
            sides += sre08_sides(release, remedy)
        elif name == "2010":
            sides += sre10_sides(release, remedy)
        elif own := release.tables.get(SPEAKER_LIST):
            sides += listed_sides(read_table(own[0], base)[1], release)
        elif not plain:
            raise SerError(f"{release}: SRE {name} says who speaks only by model, and one speaker has several; give "
                           f"the list of speakers of https://www.openslr.org/15 with --sre-table")
    if not sides:
        raise SerError(f"{table}: lists files of SRE {', '.join(sorted(years))}; say where they are with --sre-dirs")
    return sides


def read_table(path: Path, base: Path) -> tuple[list[Side], list[tuple[str, str, str, int, str]]]:
    """Read who speaks from one of two forms, told apart by the number of columns.

    `<speaker> <sphere file> <A|B|1|2>`, the file by its full path or relative to the corpus; or that of
    openslr.org/15, `<speaker> <m|f> <sre2004…> <file's stem> <A|B>`.

    Returns:
        Sides, of lines of the first form, and (speaker, year, stem, channel, file and line), of those of the second.

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


def read_lines(path: Path, separator: str | None) -> Iterator[tuple[str, list[str]]]:
    """File and line, and the fields, of every line that is not blank."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path}:{number}", [field.strip() for field in line.split(separator)]


def listed_sides(listed: Iterable[tuple[str, str, str, int, str]], release: Release) -> list[Side]:
    """Sides of one year out of openslr.org/15's list, which covers discs that need not be here."""
    sides, absent = [], []
    for speaker, year, stem, channel, where in listed:
        if year == release.name:
            file = release.file(stem, where)
            if file:
                sides.append(Side(speaker, file, channel, where))
            else:
                absent.append(stem)
    return reported(sides, absent, release, "the list of speakers")


def sre08_sides(release: Release, remedy: str) -> list[Side]:
    """Sides of SRE 2008: the models' (`model,sex,file:channel,speaker`) and the target trials' (`model,file,channel,
    target…`), for the short2 and short3 conditions."""
    sides, absent, speaker_of = [], [], {}
    for where, fields in key_lines(release.table(SRE08_MODELS, remedy), 4):
        stem, _, channel = fields[2].partition(":")
        speaker_of[fields[0]] = fields[3]
        add_side(release, sides, absent, fields[3], stem, channel, where)
    for where, fields in key_lines(release.table(SRE08_TRIALS, remedy), 4):
        if fields[3] == "target" and fields[0] in speaker_of:
            add_side(release, sides, absent, speaker_of[fields[0]], fields[1], fields[2], where)
    return reported(sides, absent, release, "the keys")


def sre10_sides(release: Release, remedy: str) -> list[Side]:
    """Sides of SRE 2010, coreext condition: the models' (`model,speaker` and `model sex path:channel`) and the target
    trials' (`model,file,channel,target…`); models that were not scored have no speaker."""
    sides, absent = [], []
    speaker_of = {fields[0]: fields[1] for _, fields in key_lines(release.table(SRE10_MODELS, remedy), 2)
                  if fields[1] != "NOT_SCORED"}
    unscored = 0
    for where, fields in read_lines(release.table(SRE10_SEGMENTS, remedy), None):
        if len(fields) != 3 or ":" not in fields[2]:
            raise SerError(f"{where}: expected <model> <sex> <path>:<channel>, found {' '.join(fields)!r}")
        path, _, channel = fields[2].rpartition(":")
        if fields[0] in speaker_of:
            stem = os.path.splitext(os.path.basename(path))[0]
            add_side(release, sides, absent, speaker_of[fields[0]], stem, channel, where)
        else:
            unscored += 1
    for where, fields in key_lines(release.table(SRE10_TRIALS, remedy), 4):
        if fields[3] == "target" and fields[0] in speaker_of:
            add_side(release, sides, absent, speaker_of[fields[0]], fields[1], fields[2], where)
    if unscored:
        print(f"SRE 2010: {unscored} models were not scored, so their speaker is not told; left out")
    return reported(sides, absent, release, "the keys")


def key_lines(path: Path, columns: int) -> Iterator[tuple[str, list[str]]]:
    """Lines of a NIST key, comma-separated.

    Raises:
        SerError: a line has fewer columns.
    """
    for where, fields in read_lines(path, ","):
        if len(fields) < columns:
            raise SerError(f"{where}: expected {columns} columns with commas between, found {','.join(fields)!r}")
        yield where, fields


def add_side(
    release: Release, sides: list[Side], absent: list[str], speaker: str, stem: str, channel: str, where: str
) -> None:
    if channel.lower() not in CHANNELS:
        if re.match(r".+:1$", where):
            return  # a header
        raise SerError(f"{where}: channel {channel!r} of {stem} is neither A nor B; correct the key, or "
                       "give who speaks as a table instead")
    file = release.file(stem, where)
    if file:
        sides.append(Side(speaker, file, CHANNELS[channel.lower()], where))
    else:
        absent.append(stem)


def swbd_sides(releases: dict[str, Release], table: Path | None, base: Path) -> list[Side]:
    """Sides of Switchboard; speaker numbers of different phases are one series."""
    sides: list[Side] = []
    if table:
        plain, listed = read_table(table, base)
        if listed:
            raise SerError(f"{listed[0][4]}: a line of a list of SRE; expected <speaker> <sphere file> <A|B|1|2>")
        sides += plain
    for name, release in releases.items():
        sides += call_sides(release, SWBD_TABLES[name])
    return sides


def call_sides(release: Release, layout: CallTable) -> list[Side]:
    """Both sides of every call of a table of Switchboard.

    Raises:
        SerError: the table has other columns: a speaker that is no number, or a sex that is neither M nor F.
    """
    remedy = "if this release has another form, give who speaks as a table with --swbd-table"
    table = release.table(layout.name, remedy)
    lines = list(read_lines(table, ","))
    stems = phase2_stems(release, len(lines), remedy) if release.name == "phase2" else []
    sides, absent, bad = [], [], []
    for index, (where, fields) in enumerate(lines):
        used = (layout.call, *layout.speakers, *layout.sexes)
        if len(fields) <= max(used) or not all(fields[column] in ("M", "F") for column in layout.sexes) or not all(
            fields[column].isdecimal() for column in layout.speakers
        ):
            raise SerError(f"{where}: not a call of Switchboard {release.name}: expected speakers' numbers in columns "
                           f"{', '.join(str(column + 1) for column in layout.speakers)} and M or F in "
                           f"{', '.join(str(column + 1) for column in layout.sexes)}; {remedy}")
        call = re.split(r"[./]", fields[layout.call])[0]
        stem = stems[index] if stems else layout.prefix + call
        if call in layout.bad:
            bad.append(call)
        elif file := release.file(stem, where):
            sides += [Side(fields[column], file, channel, where) for channel, column in enumerate(layout.speakers)]
        else:
            absent.append(stem)
    if bad:
        print(f"Switchboard {release.name}: left out calls known to be unusable: {corpus.some(bad)}")
    return reported(sides, absent, release, table.name)


def phase2_stems(release: Release, number: int, remedy: str) -> list[str]:
    """File stems of the calls of Phase 2: callinfo.tbl has two lines for every line of callstat.tbl, in its order."""
    table = release.table("callinfo.tbl", remedy)
    lines = list(read_lines(table, ","))
    if len(lines) != 2 * number:
        raise SerError(f"{table}: {len(lines)} lines where two were expected for each of {number} calls; {remedy}")
    return [os.path.splitext(fields[0])[0] for _, fields in lines[1::2]]


def reported(sides: list[Side], absent: list[str], release: Release, table: str) -> list[Side]:
    """The sides; says which files the table names in vain, and which it does not name."""
    if not sides:
        raise SerError(f"{release}: no file named by {table} is here; complete the release")
    if absent:
        absent = sorted(set(absent))
        corpus.warn(f"{release}: {len(absent)} files are named by {table} but not here, and left out: "
                    f"{corpus.some(absent)}")
    used = {side.path for side in sides}
    if unnamed := sorted(path for paths in release.audio.values() for path in paths if path not in used):
        print(f"{release}: {len(unnamed)} SPHERE files are left out, not named by {table}: "
              f"{corpus.some(unnamed)}")
    return sides


def recordings(sides: Iterable[Side], prefix: str, allow_partial: bool) -> list[Recording]:
    """One recording a side, speaker ids with `prefix`; the call is the session.

    Raises:
        SerError: a side has two speakers, an id is malformed, a file is not SPHERE or lacks that channel.
    """
    unique: dict[tuple[str, int], Side] = {}
    for side in sides:
        first = unique.setdefault((side.path, side.channel), side)
        if first.speaker != side.speaker:
            raise SerError(f"{side.where}: {side.path}, channel {'AB'[side.channel]}, is speaker {side.speaker}, but "
                           f"{first.speaker} in {first.where}; correct one of the tables")
        if not re.fullmatch(r"[\w.]+", side.speaker, re.ASCII):
            raise SerError(f"{side.where}: speaker {side.speaker!r}: letters, digits, _ and . only, please")
    found: list[Recording] = []
    problems: dict[str, list[str]] = defaultdict(list)
    kinds: Counter[str] = Counter()
    for side in progress(unique.values(), len(unique), "reading SPHERE headers", unit="side"):
        try:
            channels, coding = read_header(side.path)
            command = decoder(side, channels, coding)
        except SerError as error:
            problems[str(error)].append(f"{side.path} ({side.where})")
            continue
        kinds[f"{coding}, {channels} channel{'s' if channels > 1 else ''}"] += 1
        stem = re.sub(r"\s", "_", os.path.splitext(os.path.basename(side.path))[0])
        found.append(speakers.file_recording(
            side.path, os.stat(side.path), f"{prefix}-{side.speaker}", stem, f"{stem}_{'ab'[side.channel]}", command
        ))
    for problem, files in problems.items():
        message = f"{len(files)} of {len(unique)} sides of {prefix}: {problem}: {corpus.some(files)}"
        if not allow_partial:
            raise SerError(f"{message}; mend that, or leave them out with --allow-partial true")
        corpus.warn(f"{message}; left out")
    speakers.require_unique(found, "rename one of the files")
    formats = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    print(f"{prefix}: {len(found)} sides of {len({r.speaker for r in found})} speakers ({formats})")
    return found


def read_header(path: str) -> tuple[int, str]:
    """Number of channels and the coding (`pcm`, `ulaw`, `ulaw,embedded-shorten-v2.00`…) of a SPHERE file.

    Format: NIST SPHERE, lines `<name> -<i|r|s<length>> <value>` after NIST_1A and the header's size, until end_head.

    Raises:
        SerError: what is wrong, without the path.
    """
    with open(path, "rb") as file:
        start = file.read(16)
        if not start:
            raise SerError("empty file")
        if not re.fullmatch(rb"NIST_1A\n *\d+\n", start):
            raise SerError("not a SPHERE file")
        header = file.read(int(start[8:]) - len(start)).decode("latin-1")
        fields = dict(re.findall(r"^(\w+) -\w+ (.*?)\s*$", header.partition("end_head")[0], re.MULTILINE))
        numbers = [fields.get(name, "") for name in ("channel_count", "sample_count", "sample_n_bytes")]
        coding = fields.get("sample_coding", "pcm")
        size = os.fstat(file.fileno()).st_size - int(start[8:])
        if not numbers[0].isdecimal() or size < 1:
            raise SerError("a SPHERE file cut short")
        if "," not in coding and all(map(str.isdecimal, numbers)) and size < math.prod(map(int, numbers)):
            raise SerError(f"a SPHERE file cut short: {size} bytes of audio, {math.prod(map(int, numbers))} promised")
    return int(numbers[0]), coding


def decoder(side: Side, channels: int, coding: str) -> str:
    """The pipe that decodes one channel.

    ffmpeg reads plain and shorten-compressed PCM and plain mu-law and A-law. It has no decoder for mu-law compressed
    by shorten, in which parts of Switchboard came; for that there is sph2pipe, LDC's own.

    Raises:
        SerError: the file lacks the channel, or sph2pipe is needed and not there.
    """
    if side.channel >= channels:
        raise SerError("there is no channel B in a file of one channel")
    if coding == "pcm" or coding.startswith("pcm,embedded-shorten") or coding in ("ulaw", "mu-law", "alaw"):
        return FFMPEG.format(channel=side.channel)
    if "embedded-shorten" in coding:
        speakers.require_program("sph2pipe", f"ffmpeg cannot decode SPHERE coding {coding}",
                                 "install LDC's sph2pipe on every machine that runs jobs")
        return SPH2PIPE.format(number=side.channel + 1)
    raise SerError(f"SPHERE coding {coding} is not supported; convert it to plain PCM")
