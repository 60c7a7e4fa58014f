"""A view of an experiment while it runs: its stages, and each run with its learning curve and how long it still takes.

Like the state of runs, it is read from files, so that it shows what works on this machine, and on others.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ser.base.lock import is_held, read_holder
from ser.jobs.request import duration
from ser.jobs.status import PlannedRun, RunStatus, epochs_of, planned_runs, seconds_left, status_of
from ser.scoring.metrics import MEASURES
from ser.training.history import dev_figures, read_history
from ser.training.run_folder import FINISHED

_ORDER = ("running", "failed", "unreadable", "stopped", "waiting", "trained", "missing", "finished")
_BLOCKS = "▁▂▃▄▅▆▇█"
_CURVE = 16  # characters
_TAIL = 8192  # bytes of a log, at its end
_PROGRESS = re.compile(r"progress: (\d+/\d+ \S+) .*, (\d+) s left")


def curve(values: Sequence[float], width: int = _CURVE) -> str:
    """Draw numbers in at most `width` block characters, the smallest number lowest; NaN is left blank.

    Of more numbers than characters, each character has the mean of its share.
    """
    shares = min(width, len(values))
    edges = [round(share * len(values) / max(1, shares)) for share in range(shares + 1)]
    means = [math.fsum(values[start:end]) / (end - start) for start, end in itertools.pairwise(edges)]
    low = min((mean for mean in means if math.isfinite(mean)), default=0.0)
    high = max((mean for mean in means if math.isfinite(mean)), default=0.0)
    steps = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round(steps * (mean - low))] if math.isfinite(mean) else " " for mean in means)


def view(place: Path, height: int, width: int) -> tuple[list[str], bool]:
    """Return the lines that show an experiment folder or a file of runs, and whether all is done.

    Args:
        height, width: of the terminal. Runs that do not fit, the finished ones first, are counted only.

    Raises:
        SerError: a file of runs cannot be read.
    """
    planned = planned_runs(place)
    statuses = [status_of(each) for each in planned]
    counts, trained = Counter(status.state for status in statuses), 0
    for each, status in zip(planned, statuses, strict=True):
        trained += status.state in ("finished", "trained") or (each.run.folder / FINISHED).exists()
    lines = [f"{place}  {time.strftime('%H:%M:%S')}", ""]
    done = counts["finished"] == len(planned) > 0
    if place.is_dir():
        features, busy = _features(place.resolve(), planned)
        tables, current = _tables(place, planned)
        lines += [f"  0-2 lists, features  {features}"]
        done = done and current and not busy
    said = "".join(f", {counts[state]} {state}" for state in ("running", "waiting", "failed", "stopped")
                   if counts[state])
    lines += [f"  3 training           {trained} of {len(planned)} runs trained{said}",
              f"  4 scores             {counts['finished']} of {len(planned)} runs scored"]
    if place.is_dir():
        lines += [f"  5 tables             {tables}"]
    times = seconds_left([each.run for each in planned])
    lines += [_time_left(statuses, times), ""]
    start = (place if place.is_dir() else place.parent).resolve()
    order = sorted(range(len(planned)), key=lambda number: _ORDER.index(statuses[number].state))
    shown = order[:max(1, height - len(lines) - 2)]
    names = {number: os.path.relpath(statuses[number].folder, start) for number in shown}
    longest = max(map(len, names.values()), default=0)
    for number in shown:
        status, detail = statuses[number], _detail(planned[number], statuses[number], times[number])
        lines.append(f"{status.state:8}  {names[number]:{longest}}  {detail}")
    if left_out := Counter(statuses[number].state for number in order[len(shown):]):
        lines.append("and " + ", ".join(f"{number} {state}" for state, number in left_out.items()))
    return [line.rstrip()[:width] for line in lines], done


def _detail(planned: PlannedRun, status: RunStatus, seconds: float | None) -> str:
    """Return what a run's line has beside state and name: epoch, curve, score, time left; or what went wrong."""
    options, records = planned.run.options, read_history(planned.run.folder)
    scores = [options.score(dev_figures(record)) for record in records]
    parts = []
    if scores:
        shown, sign = ("loss", -1) if options.select == "loss" else (MEASURES[options.select].title, 100)
        best = max(range(len(scores)), key=scores.__getitem__)
        parts += [f"epoch {len(records)}/{epochs_of(planned.run, records)}  {curve(scores):{_CURVE}} "
                  f"dev {shown} {sign * scores[-1]:.2f}, best {sign * scores[best]:.2f} at {records[best]['epoch']}"]
    if status.state == "running":
        if not scores:
            parts.append("no epoch yet")
        elif (planned.run.folder / FINISHED).exists():
            parts.append("is being scored")
        elif seconds:
            parts.append(f"about {duration(seconds)} left")
    elif status.state in ("failed", "unreadable", "waiting") or not scores:
        parts.append(" ".join(status.detail.split()))
    return "  ".join(filter(None, parts))


def _features(exp: Path, planned: Sequence[PlannedRun]) -> tuple[str, bool]:
    """Return what stages 0 to 2 are at, and whether they are at work."""
    wanted = {folder for each in planned for folder in each.run.data if not each.run.source}
    there = sum((Path(folder) / "utt2spk").exists() for folder in wanted)
    holder = read_holder(exp.parent)
    if not holder or not is_held(exp.parent, holder):
        return f"{there} of {len(wanted)} data directories that are trained on are there", False
    data = exp.parent / exp.name.replace("exp", "data", 1)
    logs = sorted((log for pattern in ("*/log/*.log", "*/*/log/*.log") for log in data.glob(pattern)),
                  key=lambda log: log.stat().st_mtime)
    return f"being made by {holder}" + (f", {_step(logs[-1])}" if logs else ""), True


def _step(log: Path) -> str:
    """Return the step that writes a log, and how far it is."""
    with open(log, "rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL))
        found = _PROGRESS.findall(stream.read().decode("utf-8", "replace"))
    name = re.sub(r"\.\d+$", "", log.stem)
    return f"{name} {found[-1][0]}, {duration(int(found[-1][1]))} left" if found else name


def _tables(exp: Path, planned: Sequence[PlannedRun]) -> tuple[str, bool]:
    """Return what stage 5 is at, and whether its tables have all scores of now."""
    page = exp / "results/report.html"
    if not page.exists():
        return "not yet", False
    made = page.stat().st_mtime
    scores = [path.stat().st_mtime for each in planned for path in each.run.folder.glob("score_*/score.json")]
    current = max(scores, default=0) <= made
    at = time.strftime("%H:%M:%S", time.localtime(made))
    return f"{page}, of {at}{'' if current else '; there are newer scores'}", current


def _time_left(statuses: Sequence[RunStatus], times: Sequence[float | None]) -> str:
    """Return the line of how long all trainings that are left take together."""
    left = [seconds for status, seconds in zip(statuses, times, strict=True)
            if status.state not in ("finished", "trained")]
    known, running = [seconds for seconds in left if seconds is not None], sum(s.state == "running" for s in statuses)
    if not known or not sum(known):
        return ""
    others = f", of {len(known)} of {len(left)} runs" if len(known) < len(left) else ""
    at_once = f"; {duration(max(sum(known) / running, max(known)))} with {running} at a time" if running else ""
    return f"  time left            {duration(sum(known))} of training{others}{at_once}"
