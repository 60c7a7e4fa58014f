"""An epoch that SIGTERM interrupts and another process resumes, against one that nothing interrupts.

Two uninterrupted trainings show how far runs lie apart anyway where additions have no fixed order. The resumed one may
lie ten times as far from the first, or a thousandth.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from common import features
from distances import distance, together
from rows import Row, at_most

from ser.features.packed import pack
from ser.training.classification import Classification
from ser.training.history import read_history
from ser.training.options import TrainOptions
from ser.training.run_folder import FINISHED
from ser.training.runs import Run
from ser.training.trainer import Trainer

_TOLERANCE, _TIMES_REPEATED = 1e-3, 10.0
_FEW = 0.02  # by which accuracy and F1 may differ: choices that hang by a hair
_EXACT = ("epoch", "learning_rate", "batches")


class Interrupted(Classification):
    """A training that is sent SIGTERM while it takes the second batch of its second epoch."""

    def step(self, plan, epoch: float) -> torch.Tensor:
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == self.plans.batches_per_epoch + 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().step(plan, epoch)


def rows(device: torch.device, quick: bool, folder: Path) -> Iterator[Row]:
    """Yield the lines; `folder` is for scratch files."""
    with features(None, 6 if quick else 256) as data:
        shutil.copytree(data, folder / "dev")
        pack([data], folder / "train")
    # The index that was copied still names the scratch folder's ark.
    index = folder / "dev" / "feats.scp"
    index.write_text(index.read_text().replace(str(data), str(folder / "dev")))
    for name in ("whole", "again"):
        train(folder, name, device, quick)
    try:
        train(folder, "resumed", device, quick, Interrupted)
        code: object = "not stopped"
    except SystemExit as stopped:
        code = stopped.code
    expected = 128 + signal.SIGTERM
    yield Row("interrupted training: exit status", "", str(code), "", str(expected), code == expected)
    command = [sys.executable, __file__, str(folder), device.type, str(int(quick))]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(said)
    resumed = "resuming after epoch 1 and 2 batches" in said and (folder / "resumed" / FINISHED).exists()
    yield Row("resumed within the epoch, by another process", "", "yes" if resumed else "no", "", "yes", resumed)

    whole, again, ours = (_figures(folder / name) for name in ("whole", "again", "resumed"))
    repeated = _apart(again, whole)
    for what, figure in _apart(ours, whole).items():
        limit = _FEW if what.startswith("accuracy") else max(_TOLERANCE, _TIMES_REPEATED * repeated[what])
        note = "bit-equal" if figure == 0 else "not bit-equal"
        yield at_most(f"resumed against uninterrupted: {what}; {note}", figure, limit)
        yield Row(f"uninterrupted twice: {what}", "", "", f"{repeated[what]:.2g}")
    exact = [[[epoch[name] for name in _EXACT] for epoch in read_history(folder / run)] for run in ("whole", "resumed")]
    yield Row("resumed against uninterrupted: epochs, rates, kinds of batches", "", "", "", "equal",
              exact[0] == exact[1] and len(exact[0]) == 2)


def train(
    folder: Path, name: str, device: torch.device, quick: bool, objective: type[Classification] = Classification
) -> None:
    sizes = {"batch_size": 2, "crop": 60, "precise_bn": 1} if quick else {"batch_size": 32}
    options = TrainOptions(scheme="n+se-cp", epochs=2, **sizes)
    run = Run(str(folder), name, (str(folder / "train"),), str(folder / "dev"), options=options)
    Trainer(run, device, objective=objective).train()


def _figures(run: Path) -> dict[str, torch.Tensor]:
    """Return losses, accuracies and weights of a finished run."""
    last: Mapping[str, Any] = torch.load(run / "last.pt", map_location="cpu", weights_only=True)
    history = read_history(run)
    losses, measures = ([value for epoch in history for name, value in epoch.items() if choose(name)] for choose in (
        lambda name: name in ("loss", "dev_loss"), lambda name: name.startswith("dev_") and name != "dev_loss"))
    return {"losses of the history": torch.tensor(losses), "accuracy and F1 of the history": torch.tensor(measures),
            "weights": together(last["model"])}


def _apart(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> dict[str, float]:
    return {what: float((a[what] - b[what]).abs().max()) if what.startswith("accuracy") else distance(a[what], b[what])
            for what in b}


if __name__ == "__main__":
    train(Path(sys.argv[1]), "resumed", torch.device(sys.argv[2]), sys.argv[3] == "1")
