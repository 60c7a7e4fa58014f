"""A training's history: one JSON line an epoch in `history.jsonl`, which status, reports and grids read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser.base.files import write_text

NAME = "history.jsonl"


def read_history(run: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the epochs of a run's folder in order; none where there is no history, or from a broken line on.

    Every record has `epoch`, `epochs` (how many there are to be at most), `loss` and `dev_loss` (nats an example),
    `dev_weighted_f1`, `dev_uar`, `dev_accuracy` (fractions), `seconds` (of the epoch with its evaluation),
    `learning_rate` and `batches` (by CopyPaste kind). Synthesis has
    `dev_mel_error` and `dev_focus` in place of measures.
    """
    try:
        lines = (Path(run) / NAME).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    records = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except ValueError:  # a machine lost power while it was written; its epoch is done again
            break
    return records


def dev_figures(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the loss and the measures on the development set of an epoch's record, by name."""
    return {name.removeprefix("dev_"): figure for name, figure in record.items() if name.startswith("dev_")}


def keep_epochs(run: Path, last: int) -> None:
    """Remove what an interrupted training wrote of epochs after `last`, which will be done again, and broken lines."""
    kept = "".join(f"{json.dumps(record)}\n" for record in read_history(run) if record["epoch"] <= last)
    if (run / NAME).exists() and (run / NAME).read_text(encoding="utf-8", errors="replace") != kept:
        write_text(run / NAME, kept)


def add_epoch(run: Path, record: dict[str, Any]) -> None:
    """Append one epoch."""
    with open(run / NAME, "a", encoding="utf-8") as file:
        file.write(f"{json.dumps(record)}\n")
