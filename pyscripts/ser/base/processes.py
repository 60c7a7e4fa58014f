"""Whether processes are there, and ending them together, so that nothing that a job runner started outlives it.

This uses the standard library only, as the runners do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Stopped(BaseException):
    """Raised when a signal asks the runner to stop; its argument is the signal's number."""


def started_at(process: int) -> str:
    """Return when a process of this machine started, in clock ticks since boot.

    Returns:
        '' if it is gone, or a zombie; 'unknown' where Linux's /proc is missing or hides other users' processes.
    """
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    except OSError:
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "unknown"


def is_running(process: int) -> bool:
    """Return whether a process of this machine is there and is no zombie."""
    return started_at(process) != ""


def die_with_parent(parent: int, number: int) -> None:
    """Have the kernel send this process a signal when its parent ends (Linux; elsewhere nothing)."""
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before the call above
        os.kill(os.getpid(), number)


def start_guard(end: Callable[[set[int]], None]) -> int:
    """Fork a process that outlives this one by a moment and ends the jobs that it leaves behind, even after SIGKILL.

    Args:
        end: ends jobs, given their ids.

    Returns:
        The write end of a pipe: '+ID\\n' tells the guard of a job, '-ID\\n' that it is done. The end of this process
        closes the pipe.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(reading)
        return writing
    os.setsid()  # Ctrl-C on the terminal is not for the guard
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # who reads our output must not wait for the guard
        os.dup2(null, descriptor)
    os.close(writing)
    jobs: set[int] = set()
    with open(reading) as messages:
        for message in messages:
            job = int(message[1:])
            if message[0] == "+":
                jobs.add(job)
            else:
                jobs.discard(job)
    end(jobs)
    os._exit(0)


def run_until_stopped(run: Callable[[], None], stop: Callable[[signal.Signals], None]) -> None:
    """Call `run`; on SIGINT, SIGTERM or SIGHUP call `stop`, then end by that signal.

    The signal raises `Stopped` at any point of `run`. Signals that were ignored before (nohup) stay ignored.
    """

    def handle(number: int, _frame: object) -> None:
        for other in handled:
            signal.signal(other, signal.SIG_IGN)  # stopping is under way
        raise Stopped(number)

    handled = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    for number in handled:
        signal.signal(number, handle)
    try:
        run()
    except Stopped as stopped:
        number = signal.Signals(stopped.args[0])
        stop(number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # so that a calling shell knows what happened, and stops too
