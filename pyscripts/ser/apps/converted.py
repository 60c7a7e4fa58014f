"""The record of converted copies: what became of each, in files that a killed job goes on from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ser.augment.style_copies import StyleCopy
from ser.base.files import write_text

if TYPE_CHECKING:  # it needs torch, and what is done already does not need it
    from ser.apps.convert import Converter


@dataclass
class Outcome:
    """What became of a copy.

    Attributes:
        name: its utterance id.
        utterance: its source.
        ref: whose style it has; '' for one that was given up.
        seconds: how long it is.
        faults: what was wrong with each attempt that was rejected, with the style.
    """

    name: str
    utterance: str
    ref: str = ""
    seconds: float = 0.0
    faults: list[tuple[str, str]] = field(default_factory=list)


class Batch:
    """Some of the copies of a data directory, which are made side by side, and the record of what became of them."""

    def __init__(self, number: int, copies: Sequence[StyleCopy], folder: Path, digest: str) -> None:
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
