#!/usr/bin/env python3
"""What a job runner adds to each job: many jobs that do nothing, in one array, through every runner there is here.

utils/run.py runs as many at a time as there are cores. utils/slurm.py runs them on a Slurm cluster of this machine's
own (tests/slurm_cluster.py), or, with --here, on the cluster that this machine is part of. Beside them the time that a
bare `bash -c true` takes, and Slurm's own: the same array sent with sbatch --wait, without a runner.

Usage: python3 tests/benchmarks/bench_runners.py [--jobs N] [--repeat N] [--here]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import slurm_cluster  # noqa: E402


def seconds(command: Sequence[str], folder: str, environment: dict[str, str], repeat: int) -> tuple[float, float]:
    """Wall-clock and processor time of the quickest of `repeat` runs.

    Processor time is the runner's and its children's, not that of jobs on a cluster.
    """
    taken = []
    for _ in range(repeat):
        before, begin = os.times(), time.perf_counter()
        subprocess.run(command, cwd=folder, env={**os.environ, **environment}, check=True, capture_output=True)
        wall, after = time.perf_counter() - begin, os.times()
        cpu = after.children_user - before.children_user + after.children_system - before.children_system
        taken.append((wall, cpu))
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200, metavar="N", help="jobs in the array (default: 200)")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="runs, the quickest counts (default: 1)")
    parser.add_argument("--here", action="store_true", help="use the Slurm cluster that this machine is part of")
    args = parser.parse_args()

    array = [f"JOB=1:{args.jobs}", "log/x.JOB.log", "true"]
    bare = f"for i in $(seq {args.jobs}); do bash -c true; done"
    rows: list[tuple[str, list[str]]] = [("bash -c true, one by one", ["bash", "-c", bare])]
    rows.append(("utils/run.py", [str(ROOT / "utils/run.py"), *array]))
    environment: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        reason = None if args.here else slurm_cluster.unavailable()
        if reason:
            print(f"without Slurm: {reason}", file=sys.stderr)
        else:
            if not args.here:
                environment = stack.enter_context(slurm_cluster.Cluster()).environment
            wait = ["sbatch", "--wait", f"--array=1-{args.jobs}", "--mem=20M", "--output=/dev/null", "--wrap=true"]
            rows.append(("sbatch --wait, no runner", wait))
            rows.append(("utils/slurm.py", [str(ROOT / "utils/slurm.py"), "--mem", "20M", *array]))
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
        print(f"{args.jobs} jobs, {os.cpu_count()} cores, load before {load:.1f}")
        print(f"{'':26} {'wall s':>8} {'ms a job':>9} {'cpu s':>7} {'ms a job':>9}")
        for name, command in rows:
            wall, cpu = seconds(command, folder, environment, args.repeat)
            print(f"{name:26} {wall:8.2f} {1000 * wall / args.jobs:9.1f} {cpu:7.2f} {1000 * cpu / args.jobs:9.1f}")


if __name__ == "__main__":
    main()
