"""A run: one training with its scores, as a JSON line that says what it is and what it needs.

pyscripts/plan_runs.py writes the lines of what a recipe is asked for; train.py and score.py do one of them, status.py
and report.py read them and the files in the runs' folders.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ser.base.errors import SerError
from ser.base.files import Marker, fingerprint, write_text
from ser.base.lock import FolderLock
from ser.data.labels import EMOTION_TABLE, SPEAKER_TABLE
from ser.features.packed import label_file
from ser.scoring.predictions import score_folder
from ser.training.options import TrainOptions
from ser.training.systems import SYSTEMS

FINISHED = ".train.done"  # in a run's folder: all epochs are done
CONFIG = "config.yaml"
_FAILURE = "failed.json"


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

    @property
    def folder(self) -> Path:
        """The run's folder as an absolute path."""
        return Path(self.work) / self.out

    @property
    def data(self) -> list[str]:
        """The data directories of training and dev, as absolute paths."""
        return [os.path.join(self.work, folder) for folder in (*self.train, self.dev)]

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


@contextlib.contextmanager
def at_work(folder: Path, doing: str) -> Iterator[None]:
    """Hold a run's folder for this process, and leave a note there if the work fails.

    Raises:
        SerError: another process works in that folder.
    """
    with FolderLock(folder, doing):
        (folder / _FAILURE).unlink(missing_ok=True)
        try:
            yield
        except Exception as error:
            with contextlib.suppress(OSError):  # a full disk is perhaps what it failed with
                said = {"doing": doing, "error": str(error) or type(error).__name__, "time": time.time()}
                write_text(folder / _FAILURE, json.dumps(said) + "\n")
            raise


def read_failure(folder: Path) -> str | None:
    """Return what the last work in a run's folder failed with; None if it did not fail."""
    try:
        return str(json.loads((folder / _FAILURE).read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def inputs_hash(run: Run, features: str) -> str:
    """Return a hash of what a training is made from: features (their hash), labels and the pre-trained model."""
    labels = [label_file(folder, run.options.labels) for folder in run.data]
    donor = Path(run.options.init)
    return fingerprint(features, *labels, donor / "best.pt" if donor.is_dir() else donor)


def training_marker(run: Run) -> Marker:
    """Return the marker of a run's training, which is current if it has finished with these options on these data.

    Raises:
        SerError: features are missing.
    """
    identity = SYSTEMS[run.options.system].identity(run.data)
    return Marker(run.folder / FINISHED, fingerprint(inputs_hash(run, identity), run.options.changed()))


def score_marker(folder: Path, test: str, data: Path) -> Marker:
    """Return the marker of a run's score on a test set, which is current if the score is this network's on these data.

    Raises:
        SerError: the test set has no features.
    """
    options = TrainOptions.read([folder / CONFIG])
    identity = SYSTEMS[options.system].identity([str(data)])
    tables = (data / EMOTION_TABLE, data / SPEAKER_TABLE)
    digest = fingerprint(folder / "best.pt", options.changed(), identity, *tables)
    return Marker(score_folder(folder, test) / ".done", digest)


def refuse_other_options(run: Run) -> None:
    """Check that what is in a run's folder is this very training, or the same one with another end.

    Raises:
        SerError: a training with other options is there; a finished one may not even go on for longer.
    """
    config = run.folder / CONFIG
    if not (config.exists() and (run.folder / "last.pt").exists()):
        return
    there, finished = TrainOptions.read([config]), (run.folder / FINISHED).exists()
    if there != run.options if finished else there.identity() != run.options.identity():
        raise SerError(f"{run.folder}: holds a {'finished' if finished else 'begun'} training with other options "
                       f"({'; '.join(run.options.differences(there))}); give this one a name of its own (run.sh --tag "
                       "NAME, train.py --out FOLDER), or remove that folder")
