"""Emotion labels of utterances, as class indices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser.errors import SerError
from ser.tables import read_table

NEUTRAL = "neutral"  # what every corpus calls this class; CopyPaste has to know it


@dataclass(frozen=True)
class Labels:
    """Emotions of a set: `classes` in sorted order and the class index of each of its utterances."""

    classes: tuple[str, ...]
    indices: np.ndarray

    @classmethod
    def read(
        cls, data: Sequence[str | os.PathLike[str]], utterances: Sequence[str], classes: Sequence[str] | None = None
    ) -> Labels:
        """Labels of `utterances` from utt2emo of the data directories; `classes` is what they may be, if given.

        Raises:
            SerError: an utterance without label, or with one that is none of the classes.
        """
        table: dict[str, str] = {}
        for folder in data:
            table.update(read_table(Path(folder) / "utt2emo"))
        where = " or ".join(f"{folder}/utt2emo" for folder in data)
        unlabelled = [utterance for utterance in utterances if utterance not in table]
        if unlabelled:
            some = ", ".join(unlabelled[:3])
            raise SerError(f"{where}: no label for {some} ({len(unlabelled)} utterances)")
        found = sorted({table[utterance] for utterance in utterances})
        classes = tuple(classes or found)
        if unknown := set(found) - set(classes):
            raise SerError(
                f"{where}: {', '.join(sorted(unknown))} is absent from the training data, whose classes are "
                f"{', '.join(classes)}; a model cannot learn what it never sees"
            )
        index = {name: position for position, name in enumerate(classes)}
        return cls(classes, np.array([index[table[utterance]] for utterance in utterances]))
