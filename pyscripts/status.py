#!/usr/bin/env python3
"""Show what is finished, running, waiting, failed and missing in experiment folders, with log paths.

A run is missing if it was planned (exp/runs/*.jsonl, or the jobs of local/run_grid.sh) and nothing is there. It is
failed if its last job left an error, or is gone without a word.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path

from ser.base.errors import SerError, run_main
from ser.jobs.status import STATES, find_runs, status_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="exp", help="experiment folder, such as egs/mini/exp")
    parser.add_argument("--only", nargs="+", choices=STATES, metavar="STATE",
                        help=f"show runs in these states only: {', '.join(STATES)}")
    args = parser.parse_args()
    for folder in args.folders:
        if not folder.is_dir():
            raise SerError(f"{folder}: no such folder")
        runs = [status_of(run) for run in find_runs(folder)]
        names = {run: os.path.relpath(run.folder, folder.resolve()) for run in runs}
        shown = [run for run in runs if not args.only or run.state in args.only]
        width = max((len(names[run]) for run in shown), default=0)
        for run in shown:
            log = f"  {run.log}" if run.log is not None else ""
            print(f"{run.state:10}  {names[run]:{width}}  {run.detail}{log}".rstrip())
        counts = Counter(run.state for run in runs)
        said = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        print(f"{folder}: {len(runs)} runs{': ' if said else ''}{said}")


if __name__ == "__main__":
    run_main(main)
