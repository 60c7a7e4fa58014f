"""A lock on a folder that a killed process does not leave behind, on one machine or on a shared file system."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ser.base.errors import SerError
from ser.base.processes import started_at

RENEW_SECONDS = 30.0
LEASE_SECONDS = 180.0  # after which a lock of another machine that nobody renews is void
PATIENCE_SECONDS = 20.0  # for a holder on this machine to end
_NAME = ".lock"


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: a process, told apart by when it started, and since when (seconds since 1970)."""

    host: str
    process: int
    started: str
    since: float

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.process} on {self.host} since {since}"


class FolderLock:
    """Holds a folder for this process while the context lasts.

    On the holder's own machine a lock is void once that process is gone. Elsewhere, and where the machine hides
    other users' processes, it is a lease, which the holder renews every 30 s and which is void after 3 minutes without.
    Another machine's is waited for that long, since it may have lost power a moment ago.
    """

    def __init__(self, folder: str | os.PathLike[str], doing: str, process: int | None = None) -> None:
        """Prepare to hold a folder.

        Args:
            folder: what to hold; made if it does not exist.
            doing: completes the refusal, "<folder>: <doing> by process 12 on host since …".
            process: on whose behalf; None is this process.
        """
        self._folder, self._path, self._doing = Path(folder), Path(folder) / _NAME, doing
        self._process, self._ended = process or os.getpid(), threading.Event()

    def __enter__(self) -> FolderLock:
        """Take the lock.

        Raises:
            SerError: another process holds it; the message says which.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        own = Holder(socket.gethostname(), self._process, started_at(self._process), time.time())
        mine = self._path.with_name(f"{_NAME}.{own.host}.{os.getpid()}")
        mine.write_text(json.dumps(asdict(own)), encoding="utf-8")
        self._own = own
        try:
            while True:
                try:
                    os.link(mine, self._path)  # fails where there is one already, also on network file systems
                    break
                except FileExistsError:
                    self._take_away_if_void(mine)
        finally:
            mine.unlink()
        threading.Thread(target=self._renew, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if read_holder(self._folder) == self._own:
            self._path.unlink(missing_ok=True)

    def _take_away_if_void(self, mine: Path) -> None:
        """Remove the lock that is there once nobody holds it any more.

        A holder on this machine may be about to end, having been told to, and is given a moment for it.

        Raises:
            SerError: somebody holds it, and goes on.
        """
        holder, seen, started = read_holder(self._folder), _renewed(self._path), time.monotonic()
        while holder and is_held(self._folder, holder, now=_touch(mine)):
            here, waited = holder.host == socket.gethostname(), time.monotonic() - started
            if waited > PATIENCE_SECONDS if here else _renewed(self._path) != seen:
                raise SerError(f"{self._folder}: {self._doing} by {holder}; wait for it, or stop it first")
            if waited < 0.1:
                print(f"{self._folder}: {self._doing} by {holder}; waiting to see whether it goes on", file=sys.stderr)
            time.sleep(0.5 if here else 5.0)
        with suppress(FileNotFoundError):
            if read_holder(self._folder) == holder:
                self._path.unlink()

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            with suppress(OSError):
                os.utime(self._path)


def read_holder(folder: str | os.PathLike[str]) -> Holder | None:
    """Return who has locked a folder, though perhaps no longer there; None if nobody has."""
    try:
        return Holder(**json.loads((Path(folder) / _NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_held(folder: str | os.PathLike[str], holder: Holder, now: float | None = None) -> bool:
    """Return whether a folder's holder still holds it; `now` is the file system's time, whose clock may differ."""
    if holder.host == socket.gethostname() and (started := started_at(holder.process)) != "unknown":
        return started == holder.started
    return (time.time() if now is None else now) - _renewed(Path(folder) / _NAME) < LEASE_SECONDS


def _touch(path: Path) -> float:
    os.utime(path)
    return _renewed(path)


def _renewed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
