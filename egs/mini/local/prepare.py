#!/usr/bin/env python3
"""Make the mini corpus: synthesise its speech, noise and music, and write its lists.

Leaves <data-dir>/{train,dev,test}, the speech in --corpus-dir (default: <data-dir>/local/corpus), and noise and music
in MUSAN's layout in <data-dir>/local/musan. The audio has the same bytes whatever --nj is, and only what is missing is
made. A smaller corpus is a part of every larger one.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mini.corpus import SPLITS, TAKES, speakers, takes
from mini.musan import FILES_PER_KIND
from mini.units import Unit, all_units

from ser.base.errors import SerError, run_main
from ser.base.progress import progress
from ser.data import corpus
from ser.data.corpus import EmotionRecording


def synthesise(units: Sequence[Unit], command: Sequence[str], jobs: int, log_dir: Path) -> None:
    """Make all units that are missing in an array of at most `jobs` jobs of this program, under the runner `command`.

    Raises:
        SerError: some units are still missing afterwards.
    """
    if pending := sum(not unit.is_current() for unit in units):
        jobs = min(jobs, pending)
        subprocess.run([*command, f"JOB=1:{jobs}", log_dir / "synthesize.JOB.log",
                        Path(__file__).resolve(), "--job", f"JOB/{jobs}", *sys.argv[1:]], check=False)
        if missing := sum(not unit.is_current() for unit in units):
            raise SerError(f"{missing} folders of audio are missing after synthesis; see {log_dir}, then run again")
    else:
        print("mini: the audio is up to date")


def share(units: Sequence[Unit], job: str) -> None:
    """Make the units of job J of N (`job` is J/N): of those that are missing, the J-th, (J+N)-th, … of all units."""
    number, _, jobs = job.partition("/")
    own = [unit for unit in units[int(number) - 1 :: int(jobs)] if not unit.is_current()]
    for unit in progress(own, len(own), "synthesised", unit="folder"):
        unit.make()


def main() -> None:
    parser = corpus.Parser(__doc__)
    for split, number in SPLITS.items():
        parser.add_argument(f"--{split}-speakers", type=int, default=number, metavar="N",
                            help=f"speakers of {split} (default %(default)s)")
    parser.add_argument("--takes", type=int, default=TAKES, metavar="N",
                        help="how often a speaker says each sentence in each emotion (default %(default)s)")
    parser.add_argument("--noise-files", type=int, default=FILES_PER_KIND, metavar="N",
                        help="files of each kind of noise and of music (default %(default)s)")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # J/N: only make the share of job J of N
    args = parser.parse_args()
    sizes = {split: getattr(args, f"{split}_speakers") for split in SPLITS}
    for option, value in (*((f"{split}-speakers", size) for split, size in sizes.items()),
                          ("takes", args.takes), ("noise-files", args.noise_files), ("nj", args.nj)):
        if value < 1:
            raise SerError(f"--{option} {value}: at least 1")
    data_dir = args.data_dir.resolve()
    corpus_dir = (args.corpus_dir or data_dir / "local" / "corpus").resolve()
    units = all_units(corpus_dir, data_dir / "local" / "musan", list(speakers(sizes)), args.takes, args.noise_files)
    if args.job:
        share(units, args.job)
        return
    synthesise(units, shlex.split(args.cmd), args.nj, data_dir / "local" / "log")
    sets: dict[str, list[EmotionRecording]] = {split: [] for split in SPLITS}
    for speaker, split in speakers(sizes).items():
        for utterance, take in takes(speaker, args.takes).items():
            wav = corpus_dir / speaker / f"{utterance}.wav"
            sets[split].append(EmotionRecording(utterance, speaker, take.emotion, wav))
    seconds = corpus.measure([recording for recordings in sets.values() for recording in recordings], args.nj,
                             args.allow_partial)
    corpus.write_sets(data_dir, sets, seconds)


if __name__ == "__main__":
    run_main(main)
