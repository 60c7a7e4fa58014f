"""A run: one training with its scores, as a JSON line that says what it is and what it needs.

pyscripts/plan_runs.py writes the lines of what a recipe is asked for; train.py and score.py do one of them, status.py
and report.py read them and the files in the runs' folders.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ser.base.errors import SerError
from ser.training.options import TrainOptions


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        work: absolute path of the folder that all other paths count from.
        out: the run's folder.
        train: data directories with features, or one packed set.
        dev: likewise, one data directory.
        tests: data directories by the names of the test sets.
        options: of the training.
        device: cpu, cuda, or auto.
        test_list: data directory with every utterance of the test sets, whatever became of its features; '' if unknown.
        given: options of the system, the task and the corpus that run.sh was given.
        source: of a run that is not trained here, but scored on another corpus's tests: the folder it was trained in.
        recipe, task, features, train_data, init, tag, fold: what the folder's name stands for; `init` is its part of
            the name, `options.init` the path.
    """

    work: str
    out: str
    train: tuple[str, ...]
    dev: str
    tests: dict[str, str] = field(default_factory=dict)
    options: TrainOptions = field(default_factory=TrainOptions)
    device: str = "auto"
    recipe: str = ""
    task: str = "emotion"
    features: str = "mfcc"
    train_data: str = ""
    init: str = "random"
    tag: str = ""
    fold: int | None = None
    test_list: str = ""
    given: tuple[str, ...] = ()
    source: str = ""

    @property
    def folder(self) -> Path:
        """The run's folder as an absolute path."""
        return Path(self.work) / self.out

    @property
    def data(self) -> list[str]:
        """The data directories of training and dev, as absolute paths."""
        return [os.path.join(self.work, folder) for folder in (*self.train, self.dev) if folder]

    def record(self) -> dict[str, Any]:
        """Return everything but the options, for the run's config.yaml."""
        return {name: value for name, value in json.loads(self.line()).items() if name != "options"}

    def line(self) -> str:
        """Return the run as a line of JSON."""
        return json.dumps({**asdict(self), "options": self.options.changed()})

    @classmethod
    def parse(cls, line: str, where: str) -> Run:
        """Return the run that `line` wrote.

        Raises:
            SerError: the line is not a run's; the message begins with `where`.
        """
        try:
            values = json.loads(line)
            known = {name: value for name, value in values.items() if name in {field.name for field in fields(cls)}}
            options = TrainOptions(**values["options"])
            lists = {name: tuple(known[name]) for name in ("train", "given") if name in known}
            return cls(**{**known, **lists, "options": options})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SerError(f"{where}: not a run as plan_runs.py writes it ({error})") from None


def read_runs(path: str | os.PathLike[str]) -> list[Run]:
    """Read the runs of a file of JSON lines.

    Raises:
        SerError: the file is missing, or a line is not a run's.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise SerError(f"{path}: no such file of runs; plan_runs.py (run.sh) writes it") from None
    return [Run.parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def read_run(path: str | os.PathLike[str], number: int) -> Run:
    """Read line `number`, from 1, of a file of runs."""
    runs = read_runs(path)
    if not 1 <= number <= len(runs):
        raise SerError(f"{path}: has {len(runs)} runs, so none numbered {number}")
    return runs[number - 1]
