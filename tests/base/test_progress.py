"""Progress: what a job has to do in all, and how long the rest takes."""

from __future__ import annotations

import math
import re

import pytest

from ser.base import progress
from ser.base.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when told to."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_tell_of_the_whole_and_of_the_rest(clock, capsys) -> None:
    with Progress(40, "trained", "batches") as meter:
        assert math.isnan(meter.seconds_left())
        for _ in range(10):
            clock[0] += 3
            meter.add()
        assert meter.seconds_left() == pytest.approx(90)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "progress: 4/40 batches trained, 108 s left", "progress: 8/40 batches trained, 96 s left",
    ]


def test_iteration_reports_and_yields_everything(clock, capsys) -> None:
    seen = []
    for item in progress.progress("abc", 3, "read", "letter"):
        clock[0] += 11
        seen.append(item)
    assert seen == list("abc")
    reports = re.findall(r"progress: (\d)/3 letter read, (\d+) s left", capsys.readouterr().err)
    assert reports == [("1", "22"), ("2", "11")]
