#!/usr/bin/env python3
"""Run a command, or an array of jobs, on a Slurm cluster, as Kaldi's slurm.pl does, and wait for it.

usage: slurm.py [options] [JOB=first:last] log/x.JOB.log command…

  JOB=first:last      run the command once for every number, which replaces JOB in the log's name and the command:
                      one array of Slurm jobs
  --mem 4G, --num-threads N, --gpu N, --time 24:00:00, --num-nodes N, --warning S, --anything VALUE
                      what a job needs; conf/slurm.conf says what each means to sbatch, and which others there are
  --max-jobs-run N    run at most N jobs at a time; also -tc N
  --retries N         send a failed job up to N times more, default 0
  --config FILE       in place of conf/slurm.conf
  -x VALUE            any option with one dash and a value goes to sbatch as it is, such as -p gpu

The command's words are joined and run by bash, in this directory and environment, which all nodes must see: words with
blanks stay together, \\| is a pipe. Output goes to the log, between a header and a record of the end, '# Ended
(code 0) at …'; that of another try is appended. Exit status 1 if a job fails; the others run to their end.

What a job is stopped by decides what follows:
  its node fails, it is preempted, or a SIGTERM or SIGUSR1 of Slurm's stops it (--warning S before its time is up):
      it goes back into the queue, whatever --retries; jobs that resume where they stopped lose little
  scancel, its time or its memory is exceeded, or its command fails: a failure, for --retries
A controller that does not answer is waited for; jobs run on meanwhile. A signal to slurm.py, or the end of the program
that called it, cancels all jobs; so does the same command given again, where a lost login node left jobs behind.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "pyscripts"))

from ser.base.errors import SerError, run_main
from ser.base.processes import die_with_parent, run_until_stopped, start_guard
from ser.jobs import slurm
from ser.jobs.request import Failures, Job, Monitor, Request, bash_line, duration, log_header, parse_request

Answer = TypeVar("Answer")

_CONF = Path(__file__).resolve().parent.parent / "conf" / "slurm.conf"
_LOOK_SECONDS = (0.05, 2.0)  # between looks for exit records in the logs: at first, at most
_LOOK_SHARE = 0.05  # of the time, at most, is spent on that
_ASK_SECONDS = (2.0, 30.0)  # between questions to the controller: at first, at most
_RECORD_SECONDS = 5.0  # that an exit record may take through a network file system
_SILENCE_SECONDS = 30.0  # without an answer of the controller before that is said
_SAY_AGAIN_SECONDS = 300.0
_WAIT_SECONDS = 15.0  # in the queue before the reason for that is said
_STOP_SECONDS = 30.0  # to wait for cancelled jobs to be gone
_TAIL_BYTES = 8192  # of a log that hold the exit record: Slurm may add lines to it

# How often a job goes back into the queue, by what stopped it; a job that brings its nodes down must not take them all.
_NODE, _PREEMPTED = "node", "preempted"
_MOST_RETURNS = {_NODE: 2, _PREEMPTED: 100}
_LOST_NODE = {"NODE_FAIL", "BOOT_FAIL"}
_CAUSES = {
    "CANCELLED": "was cancelled (scancel)",
    "DEADLINE": "missed its deadline",
    "OUT_OF_MEMORY": "ran out of memory; ask for more (--mem)",
    "REVOKED": "was revoked",
    "TIMEOUT": "exceeded its time; ask for more (--time)",
}
# What slurmstepd leaves in the log where accounting, and not the kernel, bounds memory.
_OVER_MEMORY = re.compile(rb"^slurmstepd.*(memory limit|oom.kill)", re.IGNORECASE | re.MULTILINE)
_RECORD = re.compile(rb"^# (Ended|Stopped by (\w+)) \(code (\d+)\) at .*, Slurm job (\d+_\d+)$", re.MULTILINE)

# What sbatch is sent. The command is a process group of its own, so that a signal reaches all of it and the record of
# the end is written by somebody who outlives it.
_SCRIPT = r"""#!/usr/bin/env bash
name={name} line={line} directory={directory} threads={threads}
job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
[ -z "$name" ] || line=${{line//"$name"/$SLURM_ARRAY_TASK_ID}}
[ -z "$threads" ] || export OMP_NUM_THREADS=$threads
printf '# Running on %s as Slurm job %s\n# Started at %s\n#\n' "${{SLURMD_NODENAME:-$(hostname)}}" "$job" "$(date)"
child='' stopped='' signals=0
stop() {{ stopped=$1; signals=$((signals + 1)); [ -z "$child" ] || kill -TERM -- "-$child" 2> /dev/null; }}
trap 'stop SIGTERM' TERM
trap 'stop SIGUSR1' USR1
if cd -- "$directory"; then
  set -m
  bash -c "$line" < /dev/null &
  child=$!
  set +m
  [ -z "$stopped" ] || stop "$stopped"
  while before=$signals; wait "$child"; code=$?; [ "$signals" != "$before" ]; do :; done
  # Told to stop, a shell may go before what it runs, which is still saving: Slurm says when there is no more time.
  while [ -n "$stopped" ] && kill -0 -- "-$child" 2> /dev/null; do sleep 0.1; done
  kill -KILL -- "-$child" 2> /dev/null
else
  code=1
fi
how=Ended
if [ -n "$stopped" ] && [ "$code" != 0 ]; then how="Stopped by $stopped"; fi
printf '# %s (code %s) at %s, elapsed time %s seconds, Slurm job %s\n' "$how" "$code" "$(date)" "$SECONDS" "$job"
exit "$code"
"""


@dataclass
class Member:
    """A job of the array: which array it is in by now, and what is known of it there."""

    job: Job
    array: int = 0
    begin: int = 0  # of what it writes there, in its log
    size: int = 0  # of the log when it was last looked at
    started: bool = False
    record: tuple[str, int] | None = None  # the signal that stopped it ('' for none) and the exit code
    over_since: float | None = None  # when the log or the controller said that it is over
    returns: Counter[str] = field(default_factory=Counter)


class Runner:
    """Sends the jobs of a request as one array, follows them by their logs and by what the controller says."""

    def __init__(self, request: Request, conf: slurm.QueueConf, options: dict[str, str], plain: list[str]) -> None:
        self.request = request
        self.jobs = request.jobs()
        self.monitor = Monitor(request.title, self.jobs)
        self.failures = Failures("slurm.py", request, self.monitor)
        self.command = [*conf.arguments(options), *plain]
        self.name = slurm.array_name(request.title, request.log)
        self.running: dict[int, Member] = {}
        self.waiting: list[Member] = []  # to be sent
        self.arrays: set[int] = set()
        self.reasons: set[str] = set()
        self.silent_since: float | None = None
        self.silence_said = 0.0
        self.next_question, self.question_pause = float("inf"), _ASK_SECONDS[0]
        self.sent = 0.0  # when the latest array was
        self.guard = start_guard(_cancel_left)

    def run(self) -> None:
        self._patiently(self._clear_leftovers)
        for job in self.jobs:
            job.log.parent.mkdir(parents=True, exist_ok=True)
            job.log.write_text(f"{log_header(job)}# Sent to Slurm at {time.ctime()}\n", encoding="utf-8")
            self.waiting.append(Member(job))
        pause = _LOOK_SECONDS[0]
        while self.waiting or self.running:
            # Those that return are an array of their own, whose limit would know nothing of the first one's.
            if self.waiting and not (self.running and self.request.max_jobs_run):
                self._send()
                pause = _LOOK_SECONDS[0]
            time.sleep(pause)
            begin = time.monotonic()
            self._look()
            pause = max(min(pause * 1.2, _LOOK_SECONDS[1]), (time.monotonic() - begin) / _LOOK_SHARE)
            if self.running and begin >= self.next_question:
                self._ask()
            self.monitor.look()
        self.monitor.clear()
        for array in self.arrays:
            os.write(self.guard, b"-%d\n" % array)

    def stop(self, number: signal.Signals) -> None:
        """Cancel all jobs and say so in their logs."""
        self._look()
        left = [member for member in (*self.running.values(), *self.waiting) if member.record is None]
        end = time.monotonic() + _STOP_SECONDS
        gone = False
        while not gone and time.monotonic() < end:
            with contextlib.suppress(slurm.NoAnswer, SerError):
                slurm.cancel(name=self.name)
                gone = not slurm.ids_of(self.name)
            if not gone:
                time.sleep(0.5)
        for member in left:
            with contextlib.suppress(OSError), open(member.job.log, "a", encoding="utf-8") as log:
                log.write(f"# Stopped by {number.name} to the runner at {time.ctime()}\n")
        what = f"cancelled {len(left)} jobs" if gone else f"jobs may be left; see squeue --me --name={self.name}"
        self.monitor.say(f"slurm.py: stopped by {number.name}; {what}")

    # ---- sending

    def _clear_leftovers(self) -> None:
        """Cancel what an earlier call with these logs has left in the queue, which would write the same files."""
        while ids := slurm.ids_of(self.name):
            if not self.arrays:
                listed = " ".join(map(str, sorted(ids)))
                self.monitor.say(f"slurm.py: cancelling job {listed}, left in the queue by an earlier call")
            self.arrays |= ids
            slurm.cancel(ids=ids)
            time.sleep(1)

    def _send(self) -> None:
        numbers = [member.job.number for member in self.waiting]
        limit = f"%{self.request.max_jobs_run}" if self.request.max_jobs_run else ""
        log = self.request.fill(self.request.log.replace("%", "%%"), "%a")
        log = os.path.join(os.getcwd().replace("%", "%%"), log)
        arguments = [
            *self.command, "--parsable", f"--array={_ranges(numbers)}{limit}", f"--job-name={self.name}",
            f"--output={log}", "--open-mode=append", "--no-requeue",
        ]  # fmt: skip
        script = _SCRIPT.format(
            name=shlex.quote(self.request.name or ""), line=shlex.quote(bash_line(self.request.command)),
            directory=shlex.quote(os.getcwd()), threads=self.request.num_threads or "",
        )
        tried = False

        def send() -> int:
            nonlocal tried
            if tried and (new := slurm.ids_of(self.name) - self.arrays):  # it was taken, only the answer was lost
                return new.pop()
            tried = True
            return slurm.send(arguments, script)

        array = self._patiently(send)
        os.write(self.guard, b"+%d\n" % array)
        self.arrays.add(array)
        for member in self.waiting:
            member.array, member.record, member.over_since = array, None, None
            member.begin = member.size = member.job.log.stat().st_size
            self.running[member.job.number] = member
        self.waiting = []
        self.sent = time.monotonic()
        self._ask_often()

    def _patiently(self, question: Callable[[], Answer]) -> Answer:
        """What the controller answers, however long that takes."""
        pause = 1.0
        while True:
            try:
                answer = question()
            except slurm.NoAnswer as error:
                self._silent(str(error))
                time.sleep(pause)
                pause = min(pause * 1.5, _ASK_SECONDS[1])
            else:
                self._answered()
                return answer

    # ---- following

    def _look(self) -> None:
        """Read exit records; jobs that ended well are done."""
        for member in list(self.running.values()):
            if member.record is not None:
                continue
            tail = _tail(member)
            if not tail:
                continue
            if not member.started:
                member.started = True
                self.monitor.started(member.job)
            for match in _RECORD.finditer(tail):
                if match[4] == b"%d_%d" % (member.array, member.job.number):
                    member.record = ((match[2] or b"").decode(), int(match[3]))
            if member.record == ("", 0):
                self._done(member)
            elif member.record is not None:
                self._over(member)

    def _ask(self) -> None:
        """Ask the controller after the jobs, and judge those that did not end well."""
        self.question_pause = min(self.question_pause * 1.5, _ASK_SECONDS[1])
        self.next_question = time.monotonic() + self.question_pause
        try:
            states = slurm.states({member.array for member in self.running.values()})
        except slurm.NoAnswer as error:
            self._silent(str(error))
            return
        self._answered()
        self._look()  # what is over by now has left its record, unless the file server is slow
        waiting: Counter[str] = Counter()
        for member in list(self.running.values()):
            state = states.get((member.array, member.job.number))
            if state is not None and state.state == "PENDING":
                waiting[state.reason] += 1
            self._judge(member, state)
        if time.monotonic() - self.sent < _WAIT_SECONDS:
            return
        for reason, count in waiting.items():
            if reason not in ("None", "JobArrayTaskLimit", *self.reasons):
                self.reasons.add(reason)
                self.monitor.say(f"slurm.py: {self.request.title}: {count} jobs wait in the queue ({reason})")

    def _judge(self, member: Member, state: slurm.State | None) -> None:
        """Decide what a job that is over, but not well, has come to; None is a job that Slurm no longer knows."""
        over = state is None or state.state in slurm.ENDED
        if over:
            self._over(member)
        elif member.record is None:
            member.over_since = None
        if member.over_since is None:
            return
        settled = time.monotonic() - member.over_since >= _RECORD_SECONDS
        name = state.state if state is not None else ""
        where = f" on {state.nodes}" if state is not None and state.nodes else ""
        cause = _CAUSES.get("OUT_OF_MEMORY" if _OVER_MEMORY.search(_tail(member, again=True)) else name)
        if member.record is not None:
            stopped, code = member.record
            if not over and (stopped or not settled):
                return  # until the controller says why, and that none of it runs any more
            if stopped == "SIGUSR1":
                self._return(member, _PREEMPTED, f"was stopped by SIGUSR1{where}")
            elif name in _LOST_NODE:
                self._return(member, _NODE, f"was lost: its node failed{where}")
            elif cause:
                self._fail(member, f"{cause}{where}, code {code}")
            elif stopped:
                self._return(member, _PREEMPTED, f"was stopped by {stopped}{where}")
            else:
                self._fail(member, f"failed with code {code}{where}")
        elif not settled:
            return
        elif cause:
            self._fail(member, f"{cause}{where}")
        elif name in _LOST_NODE:
            self._return(member, _NODE, f"was lost: its node failed{where}")
        elif name == "PREEMPTED":
            self._return(member, _PREEMPTED, f"was preempted{where}")
        elif name == "COMPLETED":
            self._fail(member, f"left no exit record{where}, though Slurm says it completed; do all nodes see its log?")
        elif state is None:
            self._fail(member, "left no exit record, and Slurm no longer knows it")
        else:
            self._fail(member, f"was killed{where} ({name}, {state.reason})")

    def _over(self, member: Member) -> None:
        if member.over_since is None:
            member.over_since = time.monotonic()
            self._ask_often()

    def _ask_often(self) -> None:
        self.question_pause = _ASK_SECONDS[0]
        self.next_question = min(self.next_question, time.monotonic() + 1)

    def _done(self, member: Member) -> None:
        del self.running[member.job.number]
        self.monitor.finished(member.job)

    def _fail(self, member: Member, what: str) -> None:
        del self.running[member.job.number]
        if self.failures.add(member.job, what):
            self._again(member, what)
            return
        if not member.started:
            self.monitor.started(member.job)
        self.monitor.finished(member.job)

    def _return(self, member: Member, kind: str, what: str) -> None:
        """Back into the queue, through no fault of the job."""
        member.returns[kind] += 1
        if member.returns[kind] > _MOST_RETURNS[kind]:
            self._fail(member, f"{what}, for the {member.returns[kind]}th time")
            return
        del self.running[member.job.number]
        which = f"job {member.job.number}" if len(self.jobs) > 1 else self.request.title
        self.monitor.say(f"slurm.py: {which} {what}; it goes back into the queue")
        self._again(member, what)

    def _again(self, member: Member, what: str) -> None:
        with open(member.job.log, "a", encoding="utf-8") as log:
            log.write(f"# Job {member.array}_{member.job.number} {what}\n# Sent to Slurm again at {time.ctime()}\n")
        self.waiting.append(member)

    def _silent(self, error: str) -> None:
        now = time.monotonic()
        self.silent_since = self.silent_since or now
        if now - self.silent_since >= _SILENCE_SECONDS and now - self.silence_said >= _SAY_AGAIN_SECONDS:
            self.silence_said = now
            self.monitor.say(
                f"slurm.py: the controller has not answered for {duration(now - self.silent_since)} ({error}); "
                "waiting, and jobs that were sent run on"
            )

    def _answered(self) -> None:
        if self.silent_since is not None and self.silence_said >= self.silent_since:
            self.monitor.say("slurm.py: the controller answers again")
        self.silent_since = None


def _cancel_left(ids: Collection[int]) -> None:
    """Cancel what a killed runner has left."""
    end = time.monotonic() + _STOP_SECONDS
    while ids and time.monotonic() < end:
        try:
            slurm.cancel(ids=ids)
            return
        except slurm.NoAnswer:
            time.sleep(2)


def _tail(member: Member, again: bool = False) -> bytes:
    """The end of what a job has written into its log; nothing if it has not grown since (or also then, `again`)."""
    try:
        with open(member.job.log, "rb") as log:  # opening asks a file server anew, os.stat might not
            size = log.seek(0, os.SEEK_END)
            if size == member.size and not again:
                return b""
            member.size = size
            log.seek(max(member.begin, size - _TAIL_BYTES))
            return log.read()
    except OSError:
        return b""


def _ranges(numbers: Collection[int]) -> str:
    """'1-3,7' of 1, 2, 3, 7."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def main() -> None:
    if {"--help", "-h"} & set(sys.argv[1:2]):
        print(__doc__.strip())
        return
    die_with_parent(os.getppid(), signal.SIGTERM)
    request = parse_request(sys.argv[1:], any_option=True)
    conf, options, plain = _CONF, {}, []
    for words in request.queue:
        option, equals, value = words[0].partition("=")
        if words in (("-V",), ("-cwd",)):
            continue  # as Slurm does anyway
        if not option.startswith("--"):
            plain += words
            continue
        if not equals:
            value = words[1]
        if option == "--config":
            conf = Path(value)
        else:
            options[option.removeprefix("--").replace("-", "_")] = value
    if request.num_threads:
        options["num_threads"] = str(request.num_threads)
    if request.gpu:
        options["gpu"] = str(request.gpu)
    runner = Runner(request, slurm.QueueConf.read(conf), options, plain)
    run_until_stopped(runner.run, runner.stop)
    runner.failures.check()


if __name__ == "__main__":
    run_main(main)
