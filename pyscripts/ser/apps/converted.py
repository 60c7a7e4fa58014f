"""The record of converted copies: what became of each, in files that a killed job goes on from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from ser.augment.emotion_copies import EmotionCopy
from ser.augment.style_copies import StyleCopy
from ser.base.files import write_text

Copy = StyleCopy | EmotionCopy


class Converter(Protocol):
    """What makes copies: in `ser.apps.convert` in other styles, in `ser.apps.convert_emotion` in other emotions."""

    def convert(self, copies: Sequence[Copy], folder: Path) -> tuple[list[Outcome], dict[str, float]]:
        """Make copies, and write <folder>/<name>.wav of each that is good.

        Returns:
            What became of each, and the seconds that the network and the vocoder took.
        """


@dataclass
class Outcome:
    """What became of a copy.

    Attributes:
        name: its utterance id.
        utterance: its source.
        ref: whose style it has, or which emotion; '' for one that was given up.
        seconds: how long it is.
        silence: how much of that is its source's silence.
        faults: what was wrong with each attempt that was rejected, with the style or emotion.
    """

    name: str
    utterance: str
    ref: str = ""
    seconds: float = 0.0
    silence: float = 0.0
    faults: list[tuple[str, str]] = field(default_factory=list)


class Batch:
    """Some of the copies of a data directory, which are made side by side, and the record of what became of them."""

    def __init__(self, number: int, copies: Sequence[Copy], folder: Path, digest: str) -> None:
        """`folder` is where waveforms and records go, `digest` tells the models, data and options."""
        self.copies, self.folder, self.digest = copies, folder, digest
        self._record = folder / f"batch{number}.json"

    def run(self, converter: Converter) -> None:
        """Make the copies, unless that has been done."""
        if self.outcomes() is None:
            outcomes, spent = converter.convert(self.copies, self.folder)
            record = {"digest": self.digest, "spent": spent, "outcomes": [asdict(outcome) for outcome in outcomes]}
            write_text(self._record, json.dumps(record) + "\n")

    def outcomes(self) -> tuple[list[Outcome], dict[str, float]] | None:
        """Return what `Converter.convert` has returned; None where that was not finished, or something is missing."""
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            found = [Outcome(**outcome) for outcome in record["outcomes"]]
            whole = record["digest"] == self.digest and all(
                (self.folder / f"{outcome.name}.wav").is_file() for outcome in found if outcome.ref
            )
            return (found, record["spent"]) if whole else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
