"""NIST SRE 2004 to 2010: the speaker of each side of each call."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ser.base.errors import SerError
from telephone.release import CHANNELS, Release, Side, read_lines, read_table, reported

CATALOGUE = {
    "LDC2006S44": "2004", "LDC2011S01": "2005", "LDC2011S04": "2005", "LDC2011S09": "2006", "LDC2011S10": "2006",
    "LDC2012S01": "2006", "LDC2011S05": "2008", "LDC2011S08": "2008", "LDC2017S06": "2010",
}  # fmt: skip
SRE08_MODELS, SRE08_TRIALS = "NIST_SRE08_short2.model.key", "NIST_SRE08_short2-short3.trial.key"
SRE10_MODELS, SRE10_TRIALS = "coreext.modelkey.csv", "coreext-coreext.trialkey.csv"
SRE10_SEGMENTS = "coreext.trn"
SPEAKER_LIST = "speaker_list"


def find_sides(releases: dict[str, Release], table: Path | None, base: Path) -> list[Side]:
    """Return the sides of all releases. Years share one series of speaker numbers, that of LDC's Mixer collection."""
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


def listed_sides(listed: Iterable[tuple[str, str, str, int, str]], release: Release) -> list[Side]:
    """Return the sides of one year of openslr.org/15's list, which also names files of discs that may be absent."""
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
    """Return the sides of SRE 2008, short2 and short3 conditions.

    They are those of the models, `model,sex,file:channel,speaker`, and of the target trials,
    `model,file,channel,target…`.
    """
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
    """Return the sides of SRE 2010, coreext condition.

    They are those of the models, `model,speaker` and `model sex path:channel`, and of the target trials,
    `model,file,channel,target…`. Models that were not scored have no speaker.
    """
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
    """Yield file and line, and the fields, of every line of a NIST key, with commas between fields.

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
    """Append the side to `sides`, or its stem to `absent` if the release lacks the file."""
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
