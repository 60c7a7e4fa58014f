#!/usr/bin/env python3
"""Show what is finished, running, waiting, failed and missing of the runs in experiment folders, with log paths.

A run is missing if it was planned (exp/runs/*.jsonl, or the jobs of local/run_grid.sh) and nothing is there. It is
failed if its last job left an error, or is gone without a word.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ser.base.errors import SerError, run_main
from ser.base.files import write_text
from ser.base.progress import progress
from ser.jobs.request import duration, last_lines
from ser.jobs.status import STATES, PlannedRun, is_finished, planned_runs, seconds_left, status_of
from ser.jobs.watch import view
from ser.scoring.results import BASELINE
from ser.training.runs import Run

WATCH_SECONDS = 2.0  # between two views …
WATCH_SHARE = 10.0  # … or so many times what a view takes: hundreds of runs on a network file system take long


def show(place: Path, only: Sequence[str] | None) -> None:
    """Print a line for each run of an experiment folder or a file of runs, and how many have which state."""
    runs = [status_of(planned) for planned in planned_runs(place)]
    start = (place if place.is_dir() else place.parent).resolve()
    names = {run: os.path.relpath(run.folder, start) for run in runs}
    shown = [run for run in runs if not only or run.state in only]
    width = max((len(names[run]) for run in shown), default=0)
    for run in shown:
        log = f"  {run.log}" if run.log is not None else ""
        print(f"{run.state:10}  {names[run]:{width}}  {run.detail}{log}".rstrip())
    counts = Counter(run.state for run in runs)
    said = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    print(f"{place}: {len(runs)} runs{': ' if said else ''}{said}")


def name(run: Run) -> str:
    """Return what to call a run: its corpus, condition, fold and seed."""
    return "/".join((run.recipe, *Path(run.out).parts[1:]))


def show_to_do(all_runs: Sequence[Run], left: Sequence[PlannedRun], waiting: bool) -> None:
    """Print the runs that are left of `all_runs`, how long each takes, and those that wait for a pre-trained model."""
    print(f"{len(all_runs) - len(left)} of {len(all_runs)} runs are finished" + (", to do:" if left else ""))
    rows, known = [], []
    times = dict(zip((run.folder for run in all_runs), seconds_left(all_runs), strict=True))
    for number, planned in enumerate(left, 1):
        status, seconds = status_of(planned), times[planned.run.folder]
        state = "its data have changed" if status.state == "finished" else status.state
        detail = f", {status.detail}" if status.detail and status.state != "finished" else ""
        rows.append([str(number), name(planned.run), state + detail, f"about {duration(seconds)}" if seconds else ""])
        known += [seconds] if seconds is not None else []
    to_come = [run for run in all_runs if waiting and run.options.system != BASELINE]
    rows += [["", name(run).replace("_random", "_xvector"), "waits for --init DIR", ""] for run in to_come]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, *cells in rows:
        texts = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths[1:], strict=True))
        print(f"  {number.rjust(widths[0])}  {texts}".rstrip())
    if known:
        others = "" if len(known) == len(left) else f" for {len(known)} of {len(left)} runs (the others are the first)"
        print(f"time left: {duration(sum(known))} of jobs{others}, by the epochs of these runs so far; to be divided "
              "by how many run at a time")
    if waiting:
        print(f"{len(to_come)} runs wait for a pre-trained model (--init DIR); the tables show their cells as missing")


def check(number: int, left: Sequence[PlannedRun]) -> None:
    """Raise SerError if some of a number of runs are left, naming the latest log of each and the log's last line."""
    failed = []
    for planned in left:
        log = next(iter(planned.log_files()), None)
        said = "".join(f"\n    {line}" for line in last_lines(log, 1)) if log else ""
        failed.append(f"{name(planned.run)}: {f'log {log}' if log else 'no log'}{said}")
    if failed:
        raise SerError("\n  ".join([f"{len(failed)} of {number} runs failed:", *failed]))


def watch(places: Sequence[Path]) -> None:
    """Show the places again and again until all is done or Ctrl-C; once if the output is no terminal."""
    shown = sys.stdout.isatty()
    with suppress(KeyboardInterrupt):
        while True:
            began, (width, height) = time.monotonic(), shutil.get_terminal_size((10**4, 10**6))
            views = [view(place, height // len(places), width) for place in places]
            lines = "".join(f"{line}\033[K\n" if shown else f"{line}\n" for lines, _ in views for line in lines)
            print(f"\033[H{lines}\033[J" if shown else lines, end="", flush=True)
            if not shown or all(done for _, done in views):
                break
            time.sleep(max(WATCH_SECONDS, WATCH_SHARE * (time.monotonic() - began)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", type=Path, nargs="+", metavar="exp",
                        help="experiment folder, such as egs/mini/exp, or a file of runs (run.sh --plan)")
    parser.add_argument("--only", nargs="+", choices=STATES, metavar="STATE",
                        help=f"show runs in these states only: {', '.join(STATES)}")
    parser.add_argument("--watch", action="store_true",
                        help="show stages, and runs with learning curves and the time left, again and again until all "
                             "is done or Ctrl-C; once if the output is no terminal")
    parser.add_argument("--to-do", action="store_true",
                        help="show the runs that are not finished on the data as they are now, and how long they take")
    parser.add_argument("--jobs", type=Path, metavar="FILE", help="with --to-do: write these runs to a file of runs")
    parser.add_argument("--waiting", action="store_true",
                        help="with --to-do: say that as many runs wait for a pre-trained model")
    parser.add_argument("--check", action="store_true",
                        help="exit with 1 if a run is not finished, and show each such one with the end of its log")
    args = parser.parse_args()
    for place in args.places:
        if not place.exists():
            raise SerError(f"{place}: no such folder, nor a file of runs")
        if not args.watch and not args.to_do and not args.check:
            show(place, args.only)
    if args.watch:
        watch(args.places)
    elif args.to_do or args.check:
        runs = [planned for place in args.places for planned in planned_runs(place)]
        left = [planned for planned in progress(runs, len(runs), "looking at runs", "run")
                if not is_finished(planned.run)]
        if args.to_do:
            show_to_do([planned.run for planned in runs], left, args.waiting)
        if args.jobs:
            write_text(args.jobs, "".join(f"{planned.run.line()}\n" for planned in left))
        if args.check:
            check(len(runs), left)


if __name__ == "__main__":
    run_main(main)
