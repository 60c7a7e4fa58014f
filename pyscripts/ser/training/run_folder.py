"""The folder of a run: whether its training and scores are finished and current, at work, or failed, and with what."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import yaml

from ser.base.errors import SerError
from ser.base.files import Marker, file_identity, fingerprint, write_text
from ser.base.lock import FolderLock
from ser.data.labels import EMOTION_TABLE, SPEAKER_TABLE
from ser.features.packed import label_file
from ser.nets.encoder_folder import is_encoder_folder, read_encoder_folder
from ser.scoring.predictions import score_folder
from ser.training.options import RECORD, TrainOptions
from ser.training.runs import Run
from ser.training.systems import SYSTEMS

FINISHED = ".train.done"  # all epochs are done
CONFIG = "config.yaml"
_FAILURE = "failed.json"


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


def adopt(run: Run) -> None:
    """Make the folder of a run that was trained elsewhere: its options, and a link to its network."""
    best = run.folder / "best.pt"
    if not best.is_symlink() or os.readlink(best) != f"{run.source}/best.pt":
        best.unlink(missing_ok=True)
        best.symlink_to(f"{run.source}/best.pt")
    write_config(run)


def write_config(run: Run, **more: object) -> None:
    """Write a run's config.yaml: every option, what it was made from, and `more` beside that."""
    record = {**run.record(), **more}
    write_text(run.folder / CONFIG, yaml.safe_dump({**asdict(run.options), RECORD: record}, sort_keys=False))


def inputs_hash(run: Run, features: str) -> str:
    """Return a hash of what a training is made from: features (their hash), labels and the pre-trained model."""
    labels = [label_file(folder, run.options.labels) for folder in run.data]
    donor = Path(run.options.init)
    if is_encoder_folder(donor):  # weights of a gigabyte are known by their file, without reading them
        return fingerprint(features, *labels, *map(file_identity, read_encoder_folder(donor).files))
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
    differs = run.options.differences(there)
    if differs if finished else there.identity() != run.options.identity():
        raise SerError(f"{run.folder}: holds a {'finished' if finished else 'begun'} training with other options "
                       f"({'; '.join(differs)}); give this one a name of its own (run.sh --tag "
                       "NAME, train.py --out FOLDER), or remove that folder")
