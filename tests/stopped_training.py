"""A training that a signal stops within an epoch."""

from __future__ import annotations

import pytest
import torch

from ser.training.runs import Run
from ser.training.trainer import Trainer

SIGTERM = 15


def train_until(batch: int, run: Run, objective: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a run on the CPU until SIGTERM comes in a batch, counted from 1; `objective` is the class that trains."""
    step, steps = objective.step, []

    def stopped(self, plan, epoch):
        steps.append(epoch)
        if len(steps) == batch:
            trainer.stopped_by.append(SIGTERM)
        return step(self, plan, epoch)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(objective, "step", stopped)
        trainer = Trainer(run, torch.device("cpu"))
        trainer.train()
