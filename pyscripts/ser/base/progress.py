"""Progress with an ETA: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

LOG_EVERY_SECONDS = 10.0


class Progress:
    """Reports on stderr how many of `total` are done and how long the rest will take.

    On a terminal it is a bar. In a log file each report is a line `progress: DONE/TOTAL UNIT WHAT, S s left`, which
    the job runners add up over the jobs of an array.

    Args:
        total: how many there are to do.
        what: what is done to them, for the report.
        unit: what they are.
        shown: whether to report at all.
    """

    def __init__(self, total: int, what: str, unit: str = "utt", shown: bool = True) -> None:
        self._total, self._what, self._unit, self._shown = total, what, unit, shown
        self._done = 0
        self._started = self._reported = time.monotonic()
        self._bar = None
        if shown and sys.stderr.isatty():
            self._bar = tqdm(total=total, desc=what, unit=unit, leave=False, dynamic_ncols=True)

    def add(self) -> None:
        """Count one more as done."""
        self._done += 1
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update()
        elif self._shown and self._done < self._total and now - self._reported >= LOG_EVERY_SECONDS:
            self._reported = now
            print(f"progress: {self._done}/{self._total} {self._unit} {self._what}, {self.seconds_left():.0f} s left",
                  file=sys.stderr, flush=True)

    def expect(self, total: int) -> None:
        """Say that there are `total` to do after all."""
        self._total = total
        if self._bar is not None:
            self._bar.total = total

    def seconds_left(self) -> float:
        """Return how long the rest will take at the pace so far; NaN before there is one."""
        if not self._done:
            return math.nan
        return (time.monotonic() - self._started) / self._done * (self._total - self._done)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def progress(items: Iterable[Item], total: int, what: str, unit: str = "utt") -> Iterator[Item]:
    """Yield `items` while reporting how many of `total` are done, as `Progress` does."""
    with Progress(total, what, unit) as meter:
        for item in items:
            yield item
            meter.add()


def say(text: str) -> None:
    """Print a line on stdout without disturbing a bar."""
    tqdm.write(text)
    sys.stdout.flush()
