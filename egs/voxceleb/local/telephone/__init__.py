"""Telephone speech for training: NIST SRE 2004 to 2010 and Switchboard as LDC publishes them.

A recording is a SPHERE file of two channels. Each channel is a side of the call and has its own speaker, whom a table
of the release names (for SRE 2004 to 2006, a table of openslr.org/15). The columns of these tables were taken from
published recipes for the corpora, and every table is checked as far as possible. A release with tables of another form
can be described by a table in a form of our own, see `release.read_table`.

Modules: `release` searches folders and reads tables; `sre` and `switchboard` find the speaker of each side of a call in
the tables of their corpus; `sphere` reads the headers and makes recordings out of the sides.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.data.speaker_corpus import SpeakerRecording, require_ffmpeg
from telephone import sre, switchboard
from telephone.release import read_folders
from telephone.sphere import recordings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for option, what, example, table in (
        ("sre", "NIST SRE 2004 to 2010", "2004=DIR", "a table <speaker> <sphere file> <A|B|1|2>, or openslr.org/15's"),
        ("swbd", "Switchboard", "cellular1=DIR", "a table <speaker> <sphere file> <A|B|1|2>"),
    ):
        parser.add_argument(f"--{option}-dirs", default="", metavar='"DIR…"',
                            help=f"releases of {what}, each with the LDC catalogue number in its path, or {example}")
        parser.add_argument(f"--{option}-table", default="", metavar="FILE", help=f"who speaks: {table}")


def find(args: argparse.Namespace, folder: Path) -> list[SpeakerRecording]:
    """Return all sides of all calls that the options ask for; relative paths count from `folder`.

    Raises:
        SerError: a release or table does not exist, a table or a SPHERE header is malformed, or a decoder is missing.
    """
    found = []
    for option, name, dirs, table, corpus in (
        ("sre", "SRE", args.sre_dirs, args.sre_table, sre),
        ("swbd", "Switchboard", args.swbd_dirs, args.swbd_table, switchboard),
    ):
        if dirs or table:
            require_ffmpeg(f"{name} comes as SPHERE files that it must decode")
            releases = read_folders(dirs, folder, corpus.CATALOGUE, f"--{option}-dirs")
            sides = corpus.find_sides(releases, folder / table if table else None, folder)
            found += recordings(sides, option, args.allow_partial)
    return found
