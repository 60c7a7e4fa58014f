#!/usr/bin/env python3
"""Make the audio of the mini corpus: synthetic speech, noise and music.

The work is cut into folders (a speaker, the noise, the music). A folder that is finished and was made by this version
of the synthesiser is left alone. Job J of N takes the J-th, (J+N)-th, … of the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mini.units import all_units

from ser.base.errors import SerError, run_main
from ser.base.progress import progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus_dir", type=Path, help="folder of the speakers' folders, made if absent")
    parser.add_argument("musan_dir", type=Path, help="folder for noise/free-sound and music/fma, made if absent")
    parser.add_argument("--job", type=int, default=1, metavar="J", help="which job this is, from 1 (default 1)")
    parser.add_argument("--num-jobs", type=int, default=1, metavar="N", help="how many jobs there are (default 1)")
    parser.add_argument("--pending", action="store_true", help="only print how many folders have to be made")
    args = parser.parse_args()
    if not 1 <= args.job <= args.num_jobs:
        raise SerError(f"--job {args.job} is not one of --num-jobs {args.num_jobs}")
    units = all_units(args.corpus_dir, args.musan_dir)
    if args.pending:
        print(sum(not unit.is_current() for unit in units))
        return
    share = [unit for unit in units[args.job - 1 :: args.num_jobs] if not unit.is_current()]
    for unit in progress(share, len(share), "synthesised", unit="folder"):
        unit.make()


if __name__ == "__main__":
    run_main(main)
