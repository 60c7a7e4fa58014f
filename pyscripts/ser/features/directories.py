"""What directories of features say without their features being read: lengths, labels, identity, front end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ser.base.errors import SerError
from ser.base.files import fingerprint
from ser.base.kaldi_tables import read_table
from ser.data.arks import ark_identities
from ser.data.labels import Labels
from ser.features.packed import FRONT_END, Pack, is_packed


def frame_counts(data: Sequence[str | os.PathLike[str]]) -> tuple[Sequence[str], np.ndarray]:
    """Return the utterances of data directories, or of one packed set, and the frames (N,) of each."""
    if is_packed(data[0]):
        pack = Pack(data[0])
        return pack.utterances, pack.lengths
    frames: dict[str, str] = {}
    for folder in data:
        frames |= read_table(Path(folder) / "utt2num_frames")
    return list(frames), np.array([int(count) for count in frames.values()])


def read_labels(data: Sequence[str | os.PathLike[str]], utterances: Sequence[str], table: str) -> Labels:
    """Return the labels of utterances of data directories, or of all of one packed set, out of a table."""
    if is_packed(data[0]):
        return Labels(*Pack(data[0]).labels(table))
    return Labels.read(data, utterances, table=table)


def front_end(data: Sequence[str | os.PathLike[str]], names: Sequence[str] = FRONT_END) -> str:
    """Return the options that made the features of all of the data, as lines; '' where no directory records them.

    `names` are the files of a data directory that have them.

    Raises:
        SerError: they differ from one directory to another.
    """
    found: dict[str, str] = {}
    for folder in data:
        lines: list[str] = []
        for name in names:
            path = Path(folder) / name
            if path.is_file():
                lines += [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
        found.setdefault("\n".join(sorted(filter(None, lines))), str(folder))
    if len(found) > 1:
        raise SerError(f"the features of {' and '.join(found.values())} were made with different options; "
                       "make them alike (run.sh stages 1 and 2)")
    return next(iter(found), "")


def require_front_end(made: str, trained: str, data: object, model: object, remedy: str) -> None:
    """Refuse data for a model that was trained on data of another front end.

    Args:
        made: front end of the data, as `front_end` returns it.
        trained: that of the model's training data.
        data, model: what they are called in the message.
        remedy: what to do, which ends the message.

    Raises:
        SerError: they differ; the message has the lines that do.
    """
    ours, theirs = set(made.splitlines()), set(trained.splitlines())
    if ours != theirs:
        own, wanted = (" ".join(sorted(lines)) or "none" for lines in (ours - theirs, theirs - ours))
        raise SerError(f"{data}: made with other options ({own}) than {model} was trained on ({wanted}); {remedy}")


def features_digest(data: Sequence[str | os.PathLike[str]]) -> str:
    """Return a hash that changes whenever the features of any of the data do, without reading them.

    Raises:
        SerError: a packed set is not finished, or a table or an ark is missing.
    """
    packs = [Pack(folder).digest for folder in data if is_packed(folder)]
    indices = [Path(folder) / "feats.scp" for folder in data if not is_packed(folder)]
    arks = {identity for index in indices for identity in ark_identities(index, read_table(index)).values()}
    return fingerprint(*packs, *indices, sorted(arks))
