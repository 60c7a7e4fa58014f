"""What all job runners share: Kaldi's command line for job arrays, and following the jobs through their logs.

Standard library only: a runner works under any Python 3, before anything is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ser.base.errors import SerError

_QUIET_SECONDS = 5.0  # jobs that end sooner show no progress
_LINE_EVERY_SECONDS = 30.0  # between progress lines where stderr is no terminal
_LOOK_EVERY_SECONDS = 0.5  # between looks into the logs
_LOOK_SHARE = 0.05  # of the time, at most, is spent looking into logs: hundreds on a network file system take long
_SHOWN_FAILURES = 3  # failed jobs whose last lines are shown
_PROGRESS = re.compile(rb"progress: (\d+)/(\d+) (\S+) .*?, (\d+) s left")

# Options that only a cluster's queue heeds, by how many arguments follow.
_IGNORED = {
    "--mem": 1, "--time": 1, "--config": 1,
    "-V": 0, "-cwd": 0, "-l": 1, "-q": 1, "-j": 1, "-P": 1, "-sync": 1, "-pe": 2,
}


@dataclass(frozen=True)
class Job:
    """One job of an array: its number, log file and bash command line."""

    number: int
    log: Path
    line: str


@dataclass(frozen=True)
class Request:
    """A runner's command line: `[options] [JOB=first:last] log command…`.

    Attributes:
        name: what stands for the job number (`JOB`), None without an array.
        num_threads, gpu: cores and GPUs that each job uses; `num_threads` is None where it was not given.
        max_jobs_run: most jobs at a time, None for as many as fit.
        retries: how often a failed job is run again.
        queue: the options meant for a cluster's queue, as they were given.
    """

    name: str | None
    first: int
    last: int
    log: str
    command: tuple[str, ...]
    num_threads: int | None
    gpu: int
    max_jobs_run: int | None
    retries: int
    queue: tuple[tuple[str, ...], ...]

    def jobs(self) -> list[Job]:
        line = bash_line(self.command)
        return [
            Job(number, Path(self.fill(self.log, str(number))), self.fill(line, str(number)))
            for number in range(self.first, self.last + 1)
        ]

    def fill(self, text: str, number: str) -> str:
        """The text with a job's number in place of `JOB`."""
        return text if self.name is None else text.replace(self.name, number)

    @property
    def title(self) -> str:
        """The log's name without the job number: `make_mfcc_train` of `log/make_mfcc_train.JOB.log`."""
        stem = Path(self.log).name.removesuffix(".log")
        return stem if self.name is None else stem.replace(self.name, "").strip("._-") or stem


def parse_request(arguments: Sequence[str], any_option: bool = False) -> Request:
    """Parse a runner's arguments.

    Args:
        any_option: take options that are not known, with a value each, for the queue's.

    Raises:
        SerError: an unknown option, a value that is no number, a bad job range, or no command.
    """
    rest = list(arguments)
    numbers: dict[str, int] = {}
    queue: list[tuple[str, ...]] = []
    name, first, last = None, 1, 1
    while rest:
        word = rest[0]
        option, equals, value = word.partition("=")
        if option == "-tc":
            option = "--max-jobs-run"
        if option in ("--num-threads", "--gpu", "--max-jobs-run", "--retries"):
            if not equals:
                value = rest[1] if len(rest) > 1 else ""
            least = 0 if option in ("--gpu", "--retries") else 1
            if not value.isdecimal() or int(value) < least:
                raise SerError(f"{word} takes a number, at least {least}, not '{value}'")
            # Given twice (in cmd.sh and by a script), the smaller limit holds, as in Kaldi; otherwise the later word.
            smaller = option == "--max-jobs-run" and option in numbers
            numbers[option] = min(int(value), numbers[option]) if smaller else int(value)
            del rest[: 1 if equals else 2]
        elif word.startswith("-"):
            taken = 0 if equals else _IGNORED.get(option, 1)
            if option == "--num-nodes" and not any_option:
                raise SerError(f"{word}: this machine is one node; several need a cluster's runner (slurm.py; cmd.sh)")
            if option not in _IGNORED and not any_option:
                raise SerError(f"unknown option {word}; see --help")
            if len(rest) <= taken:
                raise SerError(f"{word} needs a value")
            queue.append(tuple(rest[: taken + 1]))
            del rest[: taken + 1]
        elif name is None and re.fullmatch(r"[A-Za-z_]\w*=[^/.]*", word):
            match = re.fullmatch(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?", word)
            if not match:
                raise SerError(f"invalid job range {word}; expected JOB=first:last")
            name, first = match[1], int(match[2])
            last = int(match[3] or first)
            if not 1 <= first <= last:
                raise SerError(f"invalid job range {word}; expected JOB=first:last with 1 <= first <= last")
            del rest[0]
        else:
            break
    if len(rest) < 2:
        raise SerError("expected a log file and a command; see --help")
    if last > first and name not in rest[0]:
        raise SerError(f"{last - first + 1} jobs would write one log, {rest[0]}; put {name} in its name")
    return Request(
        name, first, last, rest[0], tuple(rest[1:]),
        numbers.get("--num-threads"), numbers.get("--gpu", 0), numbers.get("--max-jobs-run"),
        numbers.get("--retries", 0), tuple(queue),
    )


def bash_line(command: Sequence[str]) -> str:
    """The line that bash is to run, by the rules of Kaldi's run.pl.

    A word without blanks is bash's to interpret (so that `\\|` makes a pipe), one with blanks is kept together: in
    single quotes if it has double quotes in it, else in double quotes. A single argument is a whole line.
    """
    if len(command) == 1:
        return command[0]
    return " ".join(
        word if re.fullmatch(r"\S+", word) else f"'{word}'" if '"' in word else f'"{word}"' for word in command
    )


def log_header(job: Job) -> str:
    """What a log begins with: the command."""
    return "# " + job.line.replace("\n", "\n# ") + "\n"


def last_lines(log: Path, most: int = 10) -> list[str]:
    """What a job said last: without runner's `#` lines and progress."""
    try:
        with open(log, "rb") as stream:
            stream.seek(max(0, os.path.getsize(log) - 65536))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip() and not line.startswith(("#", "progress: "))][-most:]


class _Log:
    """A log that is being written: new `epoch …` lines, and the last report of progress."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done = self.total = 0
        self.unit = ""
        self.ends_at: float | None = None  # when the job expects to be done, on the monotonic clock
        self._offset = 0

    def read(self) -> list[str]:
        """Look at what was written since the last call; returns lines of training epochs."""
        try:
            with open(self.path, "rb") as stream:
                stream.seek(self._offset)
                data = stream.read()
        except OSError:
            return []
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        epochs = []
        for line in data[:whole].splitlines():
            if match := _PROGRESS.match(line):
                self.done, self.total, self.unit = int(match[1]), int(match[2]), match[3].decode("utf-8", "replace")
                self.ends_at = time.monotonic() + int(match[4])
            elif line.startswith(b"epoch "):
                epochs.append(line.decode("utf-8", "replace"))
        return epochs


class Monitor:
    """Shows on stderr how far the jobs of a request are: one refreshed line on a terminal, else a line now and then.

    The runner calls `started` and `finished` as it learns of them, and `look` often.
    """

    def __init__(self, title: str, jobs: Sequence[Job]) -> None:
        self._title, self._number_of_jobs = title, len(jobs)
        self._running: dict[int, _Log] = {}
        self._finished: list[_Log] = []
        self._start = time.monotonic()
        self._next_look = self._start + _LOOK_EVERY_SECONDS
        self._shown = self._start - _LINE_EVERY_SECONDS + _QUIET_SECONDS
        self._terminal = sys.stderr.isatty()
        self._drawn = False

    def started(self, job: Job) -> None:
        self._running[job.number] = _Log(job.log)

    def finished(self, job: Job) -> None:
        self._relay(job.number)
        log = self._running.pop(job.number)
        log.done = log.total
        self._finished.append(log)

    def look(self) -> None:
        now = time.monotonic()
        if now < self._next_look:
            return
        for number in self._running:
            self._relay(number)
        self._next_look = now + max(_LOOK_EVERY_SECONDS, (time.monotonic() - now) / _LOOK_SHARE)
        if self._terminal and now - self._start >= _QUIET_SECONDS:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{self._status(now)[:width]}", end="", file=sys.stderr, flush=True)
            self._drawn = True
        elif not self._terminal and now - self._shown >= _LINE_EVERY_SECONDS:
            self._shown = now
            print(self._status(now), file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Print lines without disturbing the refreshed one."""
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._drawn:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._drawn = False

    def _relay(self, number: int) -> None:
        for line in self._running[number].read():
            self.say(line if self._number_of_jobs == 1 else f"{self._title} {number}: {line}")

    def _status(self, now: float) -> str:
        parts = [] if self._number_of_jobs == 1 else [f"{len(self._finished)}/{self._number_of_jobs} jobs"]
        known = [log for log in (*self._finished, *self._running.values()) if log.total]
        if known:
            done, total = sum(log.done for log in known), sum(log.total for log in known)
            about = ""
            if len(known) < self._number_of_jobs:  # the others have not said yet how much they have to do
                total, about = round(total * self._number_of_jobs / len(known)), "about "
            parts.append(f"{done}/{about}{total} {known[-1].unit}")
        parts.append(f"{duration(now - self._start)} elapsed")
        if (left := self._left(now)) is not None:
            parts.append(f"{duration(left)} left")
        return f"{self._title}: {', '.join(parts)}"

    def _left(self, now: float) -> float | None:
        """Seconds until the last job ends; None as long as nobody knows."""
        running = self._running.values()
        if len(self._finished) + len(running) == self._number_of_jobs and all(log.ends_at for log in running):
            return max([0.0, *(log.ends_at - now for log in running if log.ends_at)])
        share = (len(self._finished) + sum(log.done / log.total for log in running if log.total)) / self._number_of_jobs
        return (now - self._start) * (1 - share) / share if share else None


class Failures:
    """The failed jobs of a request: says so as they fail, and at the end names them all.

    Args:
        program: the runner's name, for messages.
    """

    def __init__(self, program: str, request: Request, monitor: Monitor) -> None:
        self._program, self._request, self._monitor = program, request, monitor
        self._failed: list[Job] = []
        self._tries: Counter[int] = Counter()

    def tries(self, job: Job) -> int:
        """How often a job has failed so far."""
        return self._tries[job.number]

    def add(self, job: Job, what: str) -> bool:
        """Take note of a failure, such as 'failed with code 1'; whether the job is to be run again."""
        self._tries[job.number] += 1
        again = self._tries[job.number] <= self._request.retries
        if not again:
            self._failed.append(job)
        if again or len(self._failed) <= _SHOWN_FAILURES:
            which = f"job {job.number}" if self._request.last > self._request.first else self._request.title
            then = f"; try {self._tries[job.number] + 1} of {self._request.retries + 1} follows" if again else ""
            tail = "".join(f"\n  | {line}" for line in last_lines(job.log))
            self._monitor.say(f"{self._program}: {which} {what}, log {job.log}{then}{tail}")
        return again

    def check(self) -> None:
        """
        Raises:
            SerError: jobs have failed.
        """
        failed = sorted(self._failed, key=lambda job: job.number)
        if not failed:
            return
        total = self._request.last - self._request.first + 1
        if total == 1:
            raise SerError(f"{self._request.title} failed; log {failed[0].log}")
        numbers = " ".join(str(job.number) for job in failed)
        logs = " ".join(str(job.log) for job in failed[:10]) + (" …" if len(failed) > 10 else "")
        raise SerError(f"{len(failed)} of {total} jobs failed: {numbers}; logs {logs}")


def duration(seconds: float) -> str:
    """'45 s', '12 min 5 s', '3 h 20 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
