#!/usr/bin/env python3
"""Keep account of the runs of a grid; local/run_grid.sh runs them.

    list      say which of the runs that run.sh --plan has written are finished, and list the others
    failures  list the runs of an array that are not finished, with their logs; exit status 1 if there are any
    folds     print the folds of the runs
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.base.errors import SerError, run_main
from ser.base.files import write_text
from ser.base.progress import progress
from ser.jobs.request import duration, last_lines
from ser.jobs.status import PlannedRun, is_finished, seconds_left, status_of
from ser.training.runs import Run, read_runs


def name(run: Run) -> str:
    """Return what to call a run: its corpus, condition, fold and seed."""
    return "/".join((run.recipe, *Path(run.out).parts[1:]))


def list_runs(args: argparse.Namespace) -> None:
    runs = [run for path in args.runs for run in read_runs(path)]
    left = [run for run in progress(runs, len(runs), "looking at runs", "run") if not is_finished(run)]
    print(f"{len(runs) - len(left)} of {len(runs)} runs are finished" + (", to do:" if left else ""))
    rows, known = [], []
    for number, run in enumerate(left, 1):
        status, seconds = status_of(PlannedRun(run)), seconds_left(run, runs)
        state = "its data have changed" if status.state == "finished" else status.state
        detail = f", {status.detail}" if status.detail and status.state != "finished" else ""
        rows.append([str(number), name(run), state + detail, f"about {duration(seconds)}" if seconds else ""])
        known += [seconds] if seconds is not None else []
    if args.waiting:
        rows += [["", name(run).replace("_random", "_xvector"), "waits for --init DIR", ""] for run in runs]
    print_columns(rows)
    if known:
        others = "" if len(known) == len(left) else f" for {len(known)} of {len(left)} runs (the others are the first)"
        print(f"time left: {duration(sum(known))} of jobs{others}, by the epochs of this grid so far; to be divided by "
              "how many run at a time")
    if args.waiting:
        print(f"{len(runs)} runs wait for a pre-trained model (--init DIR); the tables show their cells as missing")
    if args.jobs:
        write_text(args.jobs, "".join(f"{run.line()}\n" for run in left))


def print_columns(rows: list[list[str]]) -> None:
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    for row in rows:
        texts = "  ".join(cell.ljust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print(f"  {row[0].rjust(widths[0])}  {texts}".rstrip())


def list_failures(args: argparse.Namespace) -> None:
    failed, runs = [], read_runs(args.jobs)
    for number, run in enumerate(runs, 1):
        if not is_finished(run):
            log = Path(args.log.replace("JOB", str(number)))
            said = last_lines(log, 1)
            failed.append(f"{name(run)}: log {log}" + (f"\n    {said[0]}" if said else ""))
    if failed:
        raise SerError("\n  ".join([f"{len(failed)} of {len(runs)} runs failed:", *failed]))


def list_folds(args: argparse.Namespace) -> None:
    print(*sorted({run.fold for run in read_runs(args.jobs) if run.fold is not None}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verb = verbs.add_parser("list", help="list the runs that are not finished")
    verb.add_argument("runs", type=Path, nargs="+", help="files written by run.sh --plan")
    verb.add_argument("--jobs", type=Path, metavar="FILE", help="write the runs to do there")
    verb.add_argument("--waiting", action="store_true", help="say that as many runs wait for a pre-trained model")
    verb.set_defaults(run_verb=list_runs)
    verb = verbs.add_parser("failures", help="list the runs of an array that are not finished")
    verb.add_argument("jobs", type=Path, help="the runs of the array")
    verb.add_argument("--log", required=True, metavar="NAME", help="of its logs, with JOB for the number")
    verb.set_defaults(run_verb=list_failures)
    verb = verbs.add_parser("folds", help="print the folds of runs")
    verb.add_argument("jobs", type=Path, help="a file of runs")
    verb.set_defaults(run_verb=list_folds)
    args = parser.parse_args()
    args.run_verb(args)


if __name__ == "__main__":
    run_main(main)
