"""Progress with an ETA: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

_LOG_EVERY_SECONDS = 10.0


def progress(items: Iterable[Item], total: int, what: str, unit: str = "utt") -> Iterator[Item]:
    """Yield `items` while reporting on stderr how many of `total` are done and how long the rest will take.

    In a log file (stderr is no terminal) each report is a line `progress: DONE/TOTAL UNIT WHAT, S s left`, which
    `utils/run.py` adds up over the jobs of an array.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=what, unit=unit, leave=False, dynamic_ncols=True)
        return
    started = reported = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - reported >= _LOG_EVERY_SECONDS:
            reported = now
            left = (now - started) / done * max(0, total - done)
            print(f"progress: {done}/{total} {unit} {what}, {left:.0f} s left", file=sys.stderr, flush=True)
        yield item
