"""Slurm's commands, as a job runner needs them: what is sent, what is in the queue, what became of it.

Standard library only, as all of the runners.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ser.base.errors import SerError

_ANSWER_SECONDS = 120.0  # to wait for one command
# What Slurm says where another try may succeed; anything else that sbatch says is about the request.
_TRANSIENT = re.compile(
    r"unable to contact|timed out|connection (refused|reset)|zero bytes|communication|temporarily|try again"
    r"|connect failure|backup mode|node configuration changed|transport endpoint",
    re.IGNORECASE,
)
# Of jobs that are over; 'COMPLETING' is not among them.
ENDED = frozenset({
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
})  # fmt: skip


class NoAnswer(Exception):
    """The controller does not answer, for now."""


@dataclass(frozen=True)
class State:
    """What the controller says of a job: its state (`RUNNING`), the reason for that (`None`), its nodes."""

    state: str
    reason: str
    nodes: str


@dataclass(frozen=True)
class QueueConf:
    """A configuration in the syntax of Kaldi's slurm.conf: how a runner's options become sbatch's."""

    path: Path
    command: tuple[str, ...]
    options: Mapping[str, Mapping[str, str]]  # by name, then by value or '*'
    defaults: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> QueueConf:
        """
        Raises:
            SerError: no such file, a line that is none of `command`, `option`, `default`, or no command.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise SerError(f"{path}: no such file; slurm.py --config names another") from None
        command: tuple[str, ...] = ()
        options: dict[str, dict[str, str]] = {}
        defaults: dict[str, str] = {}
        for number, line in enumerate(lines, 1):
            line = re.sub(r"(^|\s)#.*", "", line).strip()
            if not line:
                continue
            if match := re.fullmatch(r"command\s+(.+)", line):
                command = tuple(shlex.split(match[1]))
            elif match := re.fullmatch(r"option\s+([^=\s]+)=(\S+)\s*(.*)", line):
                options.setdefault(match[1], {})[match[2]] = match[3]
            elif match := re.fullmatch(r"default\s+([^=\s]+)=(\S+)", line):
                defaults[match[1]] = match[2]
            else:
                raise SerError(f"{path}:{number}: expected 'command …', 'option name=value …' or 'default name=value'")
        if not command:
            raise SerError(f"{path}: no line 'command sbatch'")
        return cls(path, command, options, defaults)

    def arguments(self, given: Mapping[str, str]) -> list[str]:
        """The command with what options (by name) add to it.

        Raises:
            SerError: an option is not in the file.
        """
        words = list(self.command)
        for name, value in {**self.defaults, **given}.items():
            values = self.options.get(name, {})
            if value not in values and "*" not in values:
                shown = name.replace("_", "-")
                raise SerError(f"--{shown} {value}: {self.path} has no line 'option {name}=* …' to say what it means")
            adds = values[value] if value in values else values["*"]
            words += [word.replace("$0", value) for word in shlex.split(adds)]
        return words


def array_name(title: str, log: str) -> str:
    """The name in the queue of an array with these logs: the same for the same command given again."""
    place = hashlib.sha256(os.path.realpath(log).encode()).hexdigest()[:10]
    return f"{re.sub(r'[^A-Za-z0-9_+.-]', '_', title)}-{place}"


def send(arguments: Sequence[str], script: str) -> int:
    """Send a batch script; returns the id of its array.

    Raises:
        NoAnswer: the controller does not answer; it may have the job all the same.
        SerError: Slurm does not accept it.
    """
    # Inside of another job, that job's own numbers (memory per node …) must not become this one's.
    environment = {key: value for key, value in os.environ.items() if key[:6] != "SLURM_" or key == "SLURM_CONF"}
    done = _run(arguments, script, environment)
    if match := re.match(r"(\d+)", done.stdout):
        return int(match[1])
    if _TRANSIENT.search(done.stderr):
        raise NoAnswer(_first_line(done.stderr))
    said = done.stderr.strip() or done.stdout.strip()
    if "array specification" in said:
        said += "; fewer jobs, please: job numbers are below MaxArraySize (scontrol show config)"
    raise SerError(f"{shlex.join(arguments)}: {said}")


def ids_of(name: str) -> set[int]:
    """The ids of this user's arrays that are in the queue under a name.

    Raises:
        NoAnswer: the controller does not answer.
    """
    return {int(line) for line in _squeue("--me", f"--name={name}", "--format=%F")}


def states(ids: Iterable[int]) -> dict[tuple[int, int], State]:
    """By array and job number what the controller knows of arrays; it forgets jobs some minutes after their end.

    Raises:
        NoAnswer: the controller does not answer.
    """
    found = {}
    listed = ",".join(map(str, ids))
    for line in _squeue(f"--jobs={listed}", "--array", "--states=all", "--format=%F|%K|%T|%r|%N"):
        array, number, state, reason, nodes = line.split("|", 4)
        found[int(array), int(number)] = State(state, reason, nodes)
    return found


def states_of_user() -> dict[tuple[str, int], State]:
    """By array's name and job number what is in the queue of this user.

    Raises:
        NoAnswer: the controller does not answer.
    """
    found = {}
    for line in _squeue("--me", "--array", "--format=%j|%K|%T|%r|%N"):
        name, number, state, reason, nodes = line.split("|", 4)
        if number.isdecimal():
            found[name, int(number)] = State(state, reason, nodes)
    return found


def cancel(*, ids: Iterable[int] = (), name: str | None = None) -> None:
    """Cancel arrays, by id or all of this user's with a name; what is over already is no matter.

    Raises:
        NoAnswer: the controller does not answer.
    """
    which = map(str, ids) if name is None else (f"--user={getpass.getuser()}", f"--name={name}")
    done = _run(["scancel", "--quiet", *which])
    if done.returncode and _TRANSIENT.search(done.stderr):
        raise NoAnswer(_first_line(done.stderr))


def _squeue(*options: str) -> list[str]:
    done = _run(["squeue", "--noheader", *options])
    if done.returncode and "Invalid job id" not in done.stderr:
        raise NoAnswer(_first_line(done.stderr) or f"squeue ended with code {done.returncode}")
    return done.stdout.splitlines()


def _run(
    arguments: Sequence[str], text: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            arguments, input=text, capture_output=True, text=True, timeout=_ANSWER_SECONDS, env=environment,
            start_new_session=True,  # Ctrl-C on the terminal is for the runner, which then cancels what was sent
        )
    except FileNotFoundError:
        raise SerError(f"{arguments[0]}: no such command; is this machine part of a Slurm cluster?") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{arguments[0]} did not end within {_ANSWER_SECONDS:.0f} s") from None


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
