"""Switchboard: the speaker of each side of each call."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ser.base.errors import SerError
from ser.base.words import some
from telephone.release import Release, Side, read_lines, read_table, reported

CATALOGUE = {
    "LDC98S75": "phase1", "LDC99S79": "phase2", "LDC2002S06": "phase3", "LDC2001S13": "cellular1",
    "LDC2004S07": "cellular2",
}  # fmt: skip


@dataclass(frozen=True)
class CallTable:
    """A table of calls: its columns, from 0, of the call, of its two speakers and of their sexes."""

    name: str
    call: int
    speakers: tuple[int, int]
    sexes: tuple[int, int]
    prefix: str = ""  # of the file name before the call
    bad: tuple[str, ...] = ()  # calls whose audio is known to be unusable


TABLES = {
    "phase1": CallTable("callstat.tbl", 0, (2, 3), (5, 6)),
    "phase2": CallTable("callstat.tbl", 0, (2, 3), (4, 5)),
    "phase3": CallTable("callstat.tbl", 0, (3, 4), (5, 6), "sw_"),
    "cellular1": CallTable("swb_callstats.tbl", 0, (1, 2), (3, 4), "sw_", ("40019", "40022", "45024")),
    "cellular2": CallTable("swb_callstats.tbl", 0, (1, 2), (3, 4), "sw_", ("40022", "45024")),
}


def find_sides(releases: dict[str, Release], table: Path | None, base: Path) -> list[Side]:
    """Return the sides of all releases. The phases of Switchboard share one series of speaker numbers."""
    sides: list[Side] = []
    if table:
        plain, listed = read_table(table, base)
        if listed:
            raise SerError(f"{listed[0][4]}: a line of a list of SRE; expected <speaker> <sphere file> <A|B|1|2>")
        sides += plain
    for name, release in releases.items():
        sides += call_sides(release, TABLES[name])
    return sides


def call_sides(release: Release, layout: CallTable) -> list[Side]:
    """Return both sides of every call in the table of a release.

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
        print(f"Switchboard {release.name}: left out calls known to be unusable: {some(bad)}")
    return reported(sides, absent, release, table.name)


def phase2_stems(release: Release, number: int, remedy: str) -> list[str]:
    """Return the file stems of phase 2's calls: callinfo.tbl has two lines for each line of callstat.tbl, in order."""
    table = release.table("callinfo.tbl", remedy)
    lines = list(read_lines(table, ","))
    if len(lines) != 2 * number:
        raise SerError(f"{table}: {len(lines)} lines where two were expected for each of {number} calls; {remedy}")
    return [os.path.splitext(fields[0])[0] for _, fields in lines[1::2]]
