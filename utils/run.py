#!/usr/bin/env python3
"""Run a command, or an array of jobs, on this machine, as Kaldi's run.pl does.

usage: run.py [options] [JOB=first:last] log/x.JOB.log command…

  JOB=first:last      run the command once for every number, which replaces JOB in the log's name and the command
  --num-threads N     cores a job uses, default 1: cores / N jobs run at a time, with OMP_NUM_THREADS=N
  --gpu N             GPUs a job uses, default 0: GPUs / N jobs run at a time, each with a CUDA_VISIBLE_DEVICES of its
                      own. CUDA_VISIBLE_DEVICES=0,0 around run.py lets two jobs share the first GPU
  --max-jobs-run N    run at most N jobs at a time; also -tc N
  --retries N         run a failed job up to N times more, default 0
  --mem 4G, --time T, --config F, -l, -q, -pe, -j, -P, -sync, -V, -cwd
                      what a cluster's queue needs to know; taken, and without effect here

The command's words are joined and run by bash: words with blanks stay together, \\| is a pipe. Output goes to the
log, between a header and a line '# Ended (code 0) at …'; that of another try is appended. Exit status 1 if a job fails;
the others run to their end.
A signal, or the end of the program that called, ends all jobs with everything that they have started.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "pyscripts"))

from ser.base.errors import SerError, run_main
from ser.base.processes import die_with_parent, run_until_stopped, start_guard
from ser.jobs.request import Failures, Job, Monitor, Request, log_header, parse_request

_GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL


def kill_groups(groups: Iterable[int]) -> None:
    """End process groups: SIGTERM, and SIGKILL for what is left after a few seconds."""
    left, end = set(groups), time.monotonic() + _GRACE_SECONDS
    number = signal.SIGTERM
    while left:
        for group in list(left):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(group, os.WNOHANG)  # a zombie of ours would keep the group alive
            try:
                os.killpg(group, number)
            except (ProcessLookupError, PermissionError):
                left.discard(group)
        if number == signal.SIGKILL:
            return
        number = 0 if time.monotonic() < end else signal.SIGKILL  # 0 only asks whether the group is there
        time.sleep(0.02)


def find_gpus() -> list[str]:
    """The GPUs that jobs may use, as CUDA_VISIBLE_DEVICES names them; torch is not needed to know."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = [gpu.strip() for gpu in visible.split(",")]
        return gpus if all(gpus) and "-1" not in gpus else []
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    # A divided GPU is used by the names of its slices; CUDA gives a process the first slice only.
    slices = re.findall(r"UUID: (MIG-[^)\s]+)", listing)
    return slices or [str(index) for index in range(len(re.findall(r"^GPU ", listing, re.MULTILINE)))]


class Runner:
    """Runs the jobs of a request, as many at a time as there are slots."""

    def __init__(self, request: Request) -> None:
        self.request, self.jobs = request, request.jobs()
        self.monitor = Monitor(request.title, self.jobs)
        self.running: dict[int, tuple[Job, subprocess.Popen[bytes], float, str | None]] = {}
        self.failures = Failures("run.py", request, self.monitor)
        self.pending = deque(self.jobs)
        self.slots = self._slots()
        self.guard = start_guard(kill_groups)

    def _slots(self) -> list[str | None]:
        """One entry for every job that may run at a time: its CUDA_VISIBLE_DEVICES, None to leave that alone."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        at_a_time = max(1, cores // (self.request.num_threads or 1))
        slots: list[str | None] = [None] * at_a_time
        if each := self.request.gpu:
            gpus = find_gpus()
            if not gpus:
                print("run.py: warning: no GPU found; the jobs run without", file=sys.stderr)
            elif len(gpus) < each:
                raise SerError(f"--gpu {each}: there are only {len(gpus)} GPUs here")
            else:
                slots = [",".join(gpus[i : i + each]) for i in range(0, len(gpus) - each + 1, each)][:at_a_time]
        return slots[: self.request.max_jobs_run]

    def run(self) -> None:
        pause = 0.01
        while self.pending or self.running:
            while self.pending and self.slots:
                self._start(self.pending.popleft(), self.slots.pop(0))
                pause = 0.01
            time.sleep(pause)
            pause = min(0.2, pause * 1.2)  # short jobs are noticed at once, long ones cost nothing to watch
            for number in [n for n, (_, process, _, _) in self.running.items() if process.poll() is not None]:
                self._end(*self.running.pop(number))
                pause = 0.01
            self.monitor.look()
        self.monitor.clear()

    def _start(self, job: Job, gpus: str | None) -> None:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ)
        if gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpus
        if self.request.num_threads:
            environment["OMP_NUM_THREADS"] = str(self.request.num_threads)
        runner = os.getpid()
        with open(job.log, "a" if self.failures.tries(job) else "w", encoding="utf-8") as log:
            log.write(log_header(job))
            log.write(f"# Running on {socket.gethostname()} under process {runner}\n# Started at {time.ctime()}\n#\n")

        def prepare() -> None:
            os.write(self.guard, b"+%d\n" % os.getpid())
            die_with_parent(runner, signal.SIGKILL)

        with open(job.log, "ab") as log:
            process = subprocess.Popen(
                ["bash", "-c", job.line], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                start_new_session=True, preexec_fn=prepare,
            )
        self.running[job.number] = (job, process, time.time(), gpus)
        self.monitor.started(job)

    def _end(self, job: Job, process: subprocess.Popen[bytes], started: float, gpus: str | None) -> None:
        os.write(self.guard, b"-%d\n" % process.pid)
        self.slots.append(gpus)
        code = process.returncode
        code = code if code >= 0 else 128 - code  # killed by a signal: what a shell says
        seconds = round(time.time() - started)
        with open(job.log, "a", encoding="utf-8") as log:
            log.write(f"# Accounting: time={seconds} threads={self.request.num_threads or 1}\n")
            log.write(f"# Ended (code {code}) at {time.ctime()}, elapsed time {seconds} seconds\n")
        if code:
            killed = " (killed; out of memory?)" if code == 128 + signal.SIGKILL else ""
            if self.failures.add(job, f"failed with code {code}{killed}"):
                self.pending.append(job)
                return
        self.monitor.finished(job)

    def stop(self, number: signal.Signals) -> None:
        """End all jobs and say so in their logs."""
        kill_groups(process.pid for _, process, _, _ in self.running.values())
        for job, _, _, _ in self.running.values():
            with contextlib.suppress(OSError), open(job.log, "a", encoding="utf-8") as log:
                log.write(f"# Stopped by {number.name} to the runner at {time.ctime()}\n")
        self.monitor.say(f"run.py: stopped by {number.name}; ended {len(self.running)} jobs")


def main() -> None:
    if {"--help", "-h"} & set(sys.argv[1:2]):
        print(__doc__.strip())
        return
    die_with_parent(os.getppid(), signal.SIGTERM)
    runner = Runner(parse_request(sys.argv[1:]))
    run_until_stopped(runner.run, runner.stop)
    runner.failures.check()


if __name__ == "__main__":
    run_main(main)
