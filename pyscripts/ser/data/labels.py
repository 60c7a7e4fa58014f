"""Labels of utterances, emotions or speakers, as class indices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table

EMOTIONS = "utt2emo"  # the table of these labels; that of speakers is utt2spk
NEUTRAL = "neutral"  # what every corpus calls this class; CopyPaste has to know it


@dataclass(frozen=True)
class Labels:
    """Labels of a set: `classes` in sorted order and the class index of each of its utterances."""

    classes: tuple[str, ...]
    indices: np.ndarray

    @classmethod
    def read(
        cls,
        data: Sequence[str | os.PathLike[str]],
        utterances: Sequence[str],
        classes: Sequence[str] | None = None,
        table: str = EMOTIONS,
    ) -> Labels:
        """Labels of `utterances` from a table of the data directories; `classes` is what they may be, if given.

        Raises:
            SerError: an utterance without label, or with one that is none of the classes.
        """
        values: dict[str, str] = {}
        for folder in data:
            values.update(read_table(Path(folder) / table))
        where = " or ".join(f"{folder}/{table}" for folder in data)
        unlabelled = [utterance for utterance in utterances if utterance not in values]
        if unlabelled:
            some = ", ".join(unlabelled[:3])
            raise SerError(f"{where}: no label for {some} ({len(unlabelled)} utterances)")
        found = sorted({values[utterance] for utterance in utterances})
        classes = tuple(classes or found)
        if unknown := set(found) - set(classes):
            raise SerError(
                f"{where}: {_some(sorted(unknown))} is absent from the training data, whose classes are "
                f"{_some(classes)}; a model cannot learn what it never sees"
            )
        index = {name: position for position, name in enumerate(classes)}
        return cls(classes, np.array([index[values[utterance]] for utterance in utterances]))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
