"""The state of runs, read from the files in their folders, their locks, and Slurm's queue.

Nothing is written, and nothing is asked of the runners, which may be gone.
"""

from __future__ import annotations

import functools
import os
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ser.base.errors import SerError
from ser.base.lock import is_held, read_holder
from ser.jobs import slurm
from ser.scoring.results import BASELINE
from ser.training.history import dev_figures, read_history
from ser.training.options import TrainOptions, read_config
from ser.training.run_folder import CONFIG, FINISHED, read_failure, score_marker, training_marker
from ser.training.runs import Run, read_runs

_QUEUE_SECONDS = 30  # between questions to Slurm, which all users share
STATES = ("finished", "trained", "running", "waiting", "failed", "stopped", "unreadable", "missing")


@dataclass(frozen=True)
class PlannedRun:
    """A run and the job that is to make it, if a file of runs has one.

    Attributes:
        logs: of the jobs that train and score it, the pattern with JOB for the number.
        number: of its line in the file of runs.
    """

    run: Run
    logs: tuple[str, ...] = ()
    number: int = 0

    def log_files(self) -> list[Path]:
        """Return the logs of its jobs that are there, the latest first."""
        files = [Path(log.replace("JOB", str(self.number))) for log in self.logs]
        return sorted((file for file in files if file.exists()), key=os.path.getmtime, reverse=True)


@dataclass(frozen=True)
class RunStatus:
    """One run: its folder, its state (one of `STATES`), more about that in words, and the log of its last job.

    `trained` is a run whose scores are missing, `stopped` one that was begun and that no job of now is to finish.
    """

    folder: Path
    state: str
    detail: str
    log: Path | None


def planned_runs(place: Path) -> list[PlannedRun]:
    """Return the runs of a file of runs, or of an experiment folder: those there and those planned, by folder.

    Raises:
        SerError: a file of runs cannot be read.
    """
    if place.is_file():
        logs = logs_of(place)
        return [PlannedRun(run, logs, number) for number, run in enumerate(read_runs(place), 1)]
    exp = place.resolve()
    runs: dict[Path, PlannedRun] = {}
    for config in sorted(exp.glob(f"**/seed*/{CONFIG}")):
        if re.fullmatch(r"seed\d+", config.parent.name):  # no run that was moved aside
            runs[config.parent] = PlannedRun(_run_of(config))
    files = [*exp.glob("runs/*.jsonl"), *exp.glob("**/jobs.jsonl")]
    for path in sorted(files, key=os.path.getmtime):  # a later plan stands for an earlier one
        for planned in planned_runs(path):
            run = planned.run
            if path.parent.name == "runs":  # wherever this folder has been moved or copied to
                run = replace(run, work=str(exp.parent), out=str(Path(exp.name, *Path(run.out).parts[1:])))
            runs[run.folder.resolve()] = replace(planned, run=run)
    return [runs[folder] for folder in sorted(runs)]


def logs_of(runs: Path) -> tuple[str, ...]:
    """Return the patterns of the logs of a file's jobs, which are where run.sh and local/run_grid.sh put them."""
    if runs.name == "jobs.jsonl":
        return (str(runs.with_name("run.JOB.log")),)
    return tuple(str(runs.parent.parent / "log" / f"{stage}_{runs.stem}.JOB.log") for stage in ("train", "score"))


def _run_of(config: Path) -> Run:
    """Return the run of a folder as far as its config.yaml tells it; an unreadable one has the name of its folder."""
    place = {"work": "/", "out": str(config.parent), "train": (), "dev": ""}
    try:
        options, record = TrainOptions.read([config]), read_config(config)[1]
        tests = record.get("tests") if isinstance(record.get("tests"), dict) else {}
        return Run(**place, tests=tests, options=options, recipe=str(record.get("recipe", "")),
                   source=str(record.get("source", "")))
    except SerError:
        return Run(**place)


def status_of(planned: PlannedRun) -> RunStatus:
    """Return what became of one run."""
    run, folder = planned.run, planned.run.folder
    log = next(iter(planned.log_files()), None)

    def status(state: str, detail: str, log: Path | None = log) -> RunStatus:
        return RunStatus(folder, state, detail, log)

    history = read_history(folder)
    progress = f"epoch {len(history)}/{epochs_of(run, history)}" if history else "no epoch yet"
    holder = read_holder(folder)
    if holder and is_held(folder, holder):
        return status("running", f"{progress}, {holder}")
    try:
        if (folder / CONFIG).exists():
            TrainOptions.read([folder / CONFIG])
    except SerError as error:
        return status("unreadable", str(error))
    trained = run.source or ((folder / FINISHED).exists() and (folder / "best.pt").exists())
    scored = {path.parent.name.removeprefix("score_") for name in ("score.json", "trials.json")
              for path in folder.glob(f"score_*/{name}")}
    if trained and scored and run.tests.keys() <= scored:
        return status("finished", f"scored on {', '.join(sorted(scored))}", None)
    if waiting := _waits(planned):
        return status(*waiting)
    if failure := read_failure(folder):
        return status("failed", failure)
    if holder:
        return status("failed", f"{holder} is gone; {progress}")
    if trained:
        lacking = sorted(run.tests.keys() - scored)
        return status("trained", f"no scores{' on ' if lacking else ''}{', '.join(lacking)}")
    if (folder / "last.pt").exists():
        return status("stopped", f"{progress}; goes on from there if run again")
    return status("missing", "")


def is_finished(run: Run) -> bool:
    """Return whether a run has been trained and scored with these options on the data as they are now."""
    try:
        return (bool(run.source) or training_marker(run).is_current()) and all(
            score_marker(run.folder, test, Path(run.work) / data).is_current() for test, data in run.tests.items()
        )
    except (SerError, OSError):  # features, or the network, are not there
        return False


def seconds_left(runs: Sequence[Run]) -> list[float | None]:
    """Return how long the training of each run still takes: its own pace, else that of runs with like data and scheme.

    None for those of which no run like them has finished an epoch.
    """
    def kind(run: Run) -> tuple[object, ...]:
        return run.recipe, run.features, run.train_data, run.options.network, run.options.scheme

    histories = [read_history(run.folder) for run in runs]
    alike: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    for run, history in zip(runs, histories, strict=True):
        alike.setdefault(kind(run), []).extend(history)
    left: list[float | None] = []
    for run, own in zip(runs, histories, strict=True):
        if not (known := own or alike[kind(run)]):
            left.append(None)
            continue
        best = max(known, key=lambda record: run.options.score(dev_figures(record)))
        expected = run.options.last_epoch(best["epoch"], epochs_of(run, known))
        left.append(statistics.median(record["seconds"] for record in known) * max(0, expected - len(own)))
    return left


def epochs_of(run: Run, history: Sequence[Mapping[str, Any]]) -> int:
    """Return how many epochs a run is to have: more than `epochs` where the data are few (`min_updates`)."""
    if run.options.system == BASELINE:
        return len(run.options.listed_machines())
    return max(run.options.epochs, history[-1].get("epochs", 0))


def _waits(planned: PlannedRun) -> tuple[str, str] | None:
    """Return state and detail of a run whose job is in Slurm's queue; None if no job of it is."""
    for log in planned.logs:
        if queue := _queue(int(time.monotonic() / _QUEUE_SECONDS)):
            title = Path(log).name.removesuffix(".JOB.log")
            if state := queue.get((slurm.array_name(title, log), planned.number)):
                if state.state == "PENDING":
                    return "waiting", f"in Slurm's queue ({state.reason})"
                return "running", f"on {state.nodes}"
    return None


@functools.lru_cache(1)
def _queue(_: int) -> dict[tuple[str, int], slurm.State]:
    """Return this user's jobs in Slurm's queue at a time; none if it cannot be asked."""
    try:
        return slurm.states_of_user()
    except (slurm.NoAnswer, SerError):
        return {}
