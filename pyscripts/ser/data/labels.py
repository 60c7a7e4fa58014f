"""Labels of utterances, emotions or speakers, as class indices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table
from ser.base.words import some

EMOTION_TABLE = "utt2emo"
SPEAKER_TABLE = "utt2spk"
NEUTRAL = "neutral"  # the name of this class in every corpus; CopyPaste has to know it


@dataclass(frozen=True)
class Labels:
    """The class names of a set in sorted order, and `indices` (N,), the class index of each of its N utterances."""

    classes: tuple[str, ...]
    indices: np.ndarray

    @classmethod
    def read(
        cls,
        data: Sequence[str | os.PathLike[str]],
        utterances: Sequence[str],
        classes: Sequence[str] | None = None,
        table: str = EMOTION_TABLE,
    ) -> Labels:
        """Read the labels of `utterances` from a table of the data directories.

        Args:
            classes: the labels that are allowed; by default those that occur.

        Raises:
            SerError: an utterance has no label, or one that is not allowed.
        """
        values: dict[str, str] = {}
        for folder in data:
            values.update(read_table(Path(folder) / table))
        where = " or ".join(f"{folder}/{table}" for folder in data)
        unlabelled = [utterance for utterance in utterances if utterance not in values]
        if unlabelled:
            raise SerError(f"{where}: no label for {some(unlabelled, 3)}")
        found = sorted({values[utterance] for utterance in utterances})
        classes = tuple(classes or found)
        if unknown := set(found) - set(classes):
            raise SerError(
                f"{where}: {some(sorted(unknown))} is absent from the training data, whose classes are "
                f"{some(classes)}; a model cannot learn what it never sees"
            )
        index = {name: position for position, name in enumerate(classes)}
        return cls(classes, np.array([index[values[utterance]] for utterance in utterances]))
