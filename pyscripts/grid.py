#!/usr/bin/env python3
"""Keep account of the runs of a grid; local/run_grid.sh runs them.

    list      say which runs of command files (run.sh --commands) are finished, and list the others
    done      mark a run as finished, as its job does last
    failures  list the runs of an array that are not finished, with their logs; exit status 1 if there are any
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.base.errors import SerError, run_main
from ser.base.files import write_text
from ser.base.progress import progress
from ser.jobs.grid import Clock, Run, failures, mark_done
from ser.jobs.request import duration

DEFAULTS = Path(__file__).resolve().parent.parent / "conf" / "train.yaml"


def list_runs(args: argparse.Namespace) -> None:
    lines = [line for path in args.commands for line in path.read_text(encoding="utf-8").splitlines()]
    runs = [Run.parse(line, DEFAULTS) for line in lines]
    left = [run for run in progress(runs, len(runs), "looking at runs", "run") if not run.is_finished()]
    print(f"{len(runs) - len(left)} of {len(runs)} runs are finished" + (", to do:" if left else ""))
    rows = [[str(number), run.name, run.state()[0]] for number, run in enumerate(left, 1)]
    clock, seconds = None, []
    if args.estimate and left:
        clock = Clock(runs, args.threads)
        seconds = [clock.seconds(run, run.state()[1]) for run in left]
        for row, estimate in zip(rows, seconds, strict=True):
            row.append("?" if estimate is None else f"about {duration(estimate)}")
    if args.waiting and args.estimate:
        rows += [["", run.name.replace("_random", "_xvector"), "waits for --init DIR"] for run in runs]
    print_columns(rows)
    if clock:
        print(f"estimate: {total(seconds)}; {clock.source}")
    if args.waiting:
        print(f"{len(runs)} runs wait for a pre-trained model (--init DIR); the tables show their cells as missing")
    if args.jobs:
        write_text(args.jobs, "".join(f"{run.job}\n" for run in left))


def total(seconds: list[float | None]) -> str:
    known = [value for value in seconds if value is not None]
    if not known:
        return "none"
    without = f" for {len(known)} of {len(seconds)} jobs (the others have no features yet)"
    return (f"{duration(sum(known))} of jobs{without if len(known) < len(seconds) else ''}, to be divided by how many "
            "run at a time")


def print_columns(rows: list[list[str]]) -> None:
    widths = [max((len(row[column]) for row in rows if column < len(row)), default=0) for column in range(4)]
    for row in rows:
        texts = "  ".join(cell.ljust(width) for cell, width in zip(row[1:], widths[1:], strict=False))
        print(f"  {row[0].rjust(widths[0])}  {texts.rstrip()}")


def mark(args: argparse.Namespace) -> None:
    mark_done(args.run, args.digest, args.tests)


def list_failures(args: argparse.Namespace) -> None:
    lines = args.jobs.read_text(encoding="utf-8").splitlines()
    if failed := failures(lines, args.log):
        raise SerError("\n  ".join([f"{len(failed)} of {len(lines)} runs failed:", *failed]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verb = verbs.add_parser("list", help="list the runs that are not finished")
    verb.add_argument("commands", type=Path, nargs="+", help="files written by run.sh --commands")
    verb.add_argument("--jobs", type=Path, metavar="FILE", help="write the commands of the runs to do there")
    verb.add_argument("--estimate", action="store_true", help="also say how long they will take")
    verb.add_argument("--threads", type=int, default=1, help="CPU threads of a training, for the estimate (default: 1)")
    verb.add_argument("--waiting", action="store_true", help="say that as many runs wait for a pre-trained model")
    verb.set_defaults(run_verb=list_runs)
    verb = verbs.add_parser("done", help="mark a run as finished")
    verb.add_argument("--run", type=Path, required=True, help="folder of the run")
    verb.add_argument("--digest", required=True, help="of what it was made from")
    verb.add_argument("--tests", nargs="+", required=True, metavar="NAME", help="its test sets")
    verb.set_defaults(run_verb=mark)
    verb = verbs.add_parser("failures", help="list the runs of an array that are not finished")
    verb.add_argument("jobs", type=Path, help="the commands of the array")
    verb.add_argument("--log", required=True, metavar="NAME", help="of its logs, with JOB for the number")
    verb.set_defaults(run_verb=list_failures)
    args = parser.parse_args()
    args.run_verb(args)


if __name__ == "__main__":
    run_main(main)
