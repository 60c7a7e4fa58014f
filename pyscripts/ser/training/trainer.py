"""The training loop: planned batches, the best epoch on the dev set, resumable at any kill, whatever is trained."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ser.augment.copypaste import BatchPlan, count_kinds
from ser.base.errors import SerError
from ser.base.files import remove_leftovers
from ser.base.progress import Progress, say
from ser.scoring.metrics import MEASURES
from ser.training.checkpoint import load_checkpoint, save_checkpoint
from ser.training.distributed import World
from ser.training.history import add_epoch, keep_epochs
from ser.training.run_folder import at_work, refuse_other_options, training_marker, write_config
from ser.training.runs import Run
from ser.training.systems import SYSTEMS

_SAVE_SECONDS = 600.0  # within a long epoch: what a lost machine costs at most


class Objective(Protocol):
    """What is trained: data, networks, optimisers. `Classification` is one; a pair of networks in turn is another.

    The trainer has no part in what a step does, and an objective none in epochs, files, signals and resuming.

    Attributes:
        epochs: how many there are; known after `load`, as `examples`, `plans` and `digest` are.
        examples: how many an epoch has.
        plans: with `batches_per_epoch`.
        digest: hash of everything that decides the weights after a given epoch.
        classes, precision: for the record.
    """

    epochs: int
    examples: int
    plans: Any
    digest: str
    classes: tuple[str, ...]
    precision: str

    def load(self) -> None: ...
    def describe(self) -> str: ...
    def batches(self, epoch: int, first: int) -> Iterator[BatchPlan]: ...
    def step(self, plan: BatchPlan, epoch: float) -> Tensor: ...
    def evaluate(self, epoch: int) -> dict[str, float]: ...
    def state(self) -> dict[str, Any]: ...
    def training_state(self) -> dict[str, Any]: ...
    def resume(self, last: dict[str, Any]) -> None: ...


class Trainer:
    """One training, from the tables of its data to `best.pt`.

    Leaves in the run's folder: `best.pt` (the best epoch on the dev set), `last.pt` (to resume from), `config.yaml`
    (every option, and what it was made from), `history.jsonl`, `tensorboard/`, and at the end the marker `FINISHED`.

    Args:
        run: what to train.
        device: where.
        world: the processes that train together, each with a `Trainer` of the same run.
        objective: the class of what is trained; None: the network's own.
    """

    def __init__(
        self, run: Run, device: torch.device, world: World | None = None, objective: type[Objective] | None = None
    ) -> None:
        self.run, self.options, self.out, self.device = run, run.options, run.folder, device
        self.world = world or World()
        self.is_main = self.world.rank == 0
        objective = objective or SYSTEMS[run.options.system].networks[run.options.network].objective()
        self.objective = objective(run, device, self.world)

    def train(self) -> None:
        """Train, or take up where an interrupted training stopped, or return at once if there is nothing left to do.

        A SIGTERM or SIGUSR1 ends the process with 128 + the signal's number, once the current batch is done and saved.

        Raises:
            SerError: bad data or options, the folder holds a training with other options, or another process works
                in it.
        """
        if self.is_main:
            refuse_other_options(self.run)
        with at_work(self.out, "is being trained") if self.is_main else contextlib.nullcontext():
            # Whether there is anything to do is asked without reading features, by what makes them differ.
            marker = training_marker(self.run)
            if self.world.broadcast(marker.is_current()):
                self._say(f"{self.out} is up to date")
                return
            self.objective.load()
            # Of an epoch that is under way: batches done, the sum of their losses, how many were of each kind, seconds.
            self.state: dict[str, Any] = {
                "epoch": 0, "best_score": -math.inf, "best_epoch": 0,
                "batch": 0, "loss": 0.0, "kinds": {}, "seconds": 0.0,
            }
            self._resume(self.world.broadcast(self._last() if self.is_main else None))
            if self.is_main:
                marker.clear()
                remove_leftovers(self.out)
                self._write_config()
                keep_epochs(self.out, self.state["epoch"])
                self.writer = _tensorboard(self.out / "tensorboard", self.state["epoch"])
            self._say(self.objective.describe())
            self._epochs()
            if self.is_main:
                self.writer.close()
                marker.write([self.out / "best.pt", self.out / "last.pt"])

    # ---- epochs

    def _epochs(self) -> None:
        epochs, per_epoch = self.objective.epochs, self.objective.plans.batches_per_epoch
        if epochs == 0:
            self._finish_epoch(0, math.nan, Counter(), 0.0)
        done = self.state["epoch"] * per_epoch + self.state["batch"]
        left = max(0, self._last_epoch() * per_epoch - done)
        with _signals() as self.stopped_by, Progress(left, "trained", "batches", shown=self.is_main) as self.progress:
            for epoch in range(self.state["epoch"] + 1, epochs + 1):
                if epoch > self._last_epoch():
                    self._say(f"no better epoch in {self.options.patience}: training ends")
                    break
                started = time.monotonic() - self.state["seconds"]
                loss, kinds = self._train_epoch(epoch, started)
                if not math.isfinite(loss):
                    raise SerError(f"{self.out}: the loss of epoch {epoch} is {loss}; lower learning_rate, or use fp32")
                said = self._finish_epoch(epoch, loss, kinds, started)
                self.progress.expect(self._last_epoch() * per_epoch - done)
                more = " at least" if self._last_epoch() < epochs else ""
                self._say(f"{said}, {self.progress.seconds_left():.0f} s left{more}")
            else:
                if self.options.schedule != "cosine" and self.state["best_epoch"] > 0.9 * epochs > 0:
                    self._say(f"the best epoch, {self.state['best_epoch']}, is among the last of {epochs}, after "
                              f"{epochs * per_epoch} updates: too few, perhaps; raise epochs or min_updates")

    def _last_epoch(self) -> int:
        return self.options.last_epoch(self.state["best_epoch"], self.objective.epochs)

    def _train_epoch(self, epoch: int, started: float) -> tuple[float, Counter[str]]:
        """Train on what is left of an epoch; return the mean loss of an example, and batches by kind."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        done, saved, count = self.state["batch"], time.monotonic(), self.objective.plans.batches_per_epoch
        kinds = Counter(self.state["kinds"])
        for number, plan in enumerate(self.objective.batches(epoch, done), done + 1):
            kinds.update(count_kinds([plan]))
            total += self.objective.step(plan, epoch - 1 + (number - 0.5) / count)
            self.progress.add()
            late = time.monotonic() - saved > _SAVE_SECONDS
            stop, save = self.world.any(bool(self.stopped_by), late)
            if (stop or save) and number < count:
                seconds = time.monotonic() - started
                self.state.update(batch=number, loss=self._sum_of_losses(total), kinds=dict(kinds), seconds=seconds)
                self._save_last(self.objective.state())
                total.zero_()
                saved = time.monotonic()
                if stop:
                    self._leave(f"in epoch {epoch}, after {number} of {count} batches")
        loss = self._sum_of_losses(total) / self.objective.examples
        self.state.update(batch=0, loss=0.0, kinds={}, seconds=0.0)
        return loss, kinds

    def _sum_of_losses(self, total: torch.Tensor) -> float:
        return self.state["loss"] + float(self.world.sum(total.cpu().numpy()))

    def _finish_epoch(self, epoch: int, loss: float, kinds: Counter[str], started: float) -> str:
        """Evaluate and save; return what there is to say of the epoch."""
        figures = self.objective.evaluate(epoch)
        score = self.options.score(figures)
        self.state["epoch"] = epoch
        if best := score > self.state["best_score"]:
            self.state.update(best_score=score, best_epoch=epoch)
        seconds = time.monotonic() - started if epoch else 0.0
        dev = {f"dev_{name}": figure for name, figure in figures.items()}
        if self.is_main:
            state = self.objective.state() | {"epoch": epoch, "digest": self.objective.digest} | dev
            if best:
                save_checkpoint(self.out / "best.pt", state)
            factor = self.options.rate_factor(epoch, self.objective.epochs, self.objective.plans.batches_per_epoch)
            rate = self.options.learning_rate * factor
            # Before last.pt: killed in between, the epoch is done again, and its line with it.
            add_epoch(self.out, {
                "epoch": epoch, "epochs": self.objective.epochs, "loss": loss, **dev, "seconds": round(seconds, 3),
                "learning_rate": rate, "batches": dict(kinds),
            })
            self._save_last(state)
            for name, value in {"train/loss": loss, **{f"dev/{name}": figure for name, figure in figures.items()},
                                **{f"batches/{name}": count for name, count in kinds.items()}}.items():
                self.writer.add_scalar(name, value, epoch)
        if not epoch:
            return "no epoch: the network is as it was initialised"
        alone = f", {kinds['alone']} without partner" if kinds["alone"] else ""
        return (f"epoch {epoch}/{self.objective.epochs}: loss {loss:.4f}, dev loss {figures['loss']:.4f}, dev "
                f"{self._shown(figures)} (best at {self.state['best_epoch']}){alone}, {seconds:.1f} s")

    def _shown(self, figures: dict[str, float]) -> str:
        """Return the dev set's measure that a line about an epoch has beside its loss: what is selected by, or any."""
        measures = [name for name in figures if name != "loss"]
        name = self.options.select if self.options.select in measures else measures[0]
        if name in MEASURES:
            return f"{MEASURES[name].title} {100 * figures[name]:.2f}"
        return f"{name} {figures[name]:.3f}"

    # ---- files

    def _last(self) -> dict[str, Any] | None:
        """Return `last.pt` if it belongs to this very training; what was made from other data is moved aside whole."""
        best_path, last_path = self.out / "best.pt", self.out / "last.pt"
        if not last_path.exists():
            return None
        last = load_checkpoint(last_path)
        if last.get("digest") != self.objective.digest:
            self._move_aside()
            return None
        if last["epoch"] > self.objective.epochs:
            raise SerError(f"{self.out}: has {last['epoch']} epochs, over {self.objective.epochs}; ask for more, or "
                           "give this training a name of its own (--tag)")
        # Killed between its two files, a run has a best.pt one epoch newer than last.pt; that epoch is done again.
        known = (last["best_epoch"], last["epoch"] + 1)
        if (best_path.exists() or last["epoch"]) and load_checkpoint(best_path)["epoch"] not in known:
            raise SerError(f"{best_path} does not belong to {last_path}; delete {self.out} and train again")
        return last

    def _move_aside(self) -> None:
        """Move everything in the run's folder to a new one beside it: its data have changed since."""
        number = 1
        # One without last.pt, which goes last, was not all moved before a kill: the rest of it follows.
        while ((aside := self.out.with_name(f"{self.out.name}.replaced{number}")) / "last.pt").exists():
            number += 1
        aside.mkdir(exist_ok=True)
        for path in sorted(self.out.iterdir(), key=lambda path: path.name == "last.pt"):
            if path.name != ".lock":
                path.rename(aside / path.name)
        self._say(f"{self.out}: its data have changed; the training that was here is now {aside}")

    def _resume(self, last: dict[str, Any] | None) -> None:
        if last is None:
            return
        self.objective.resume(last)
        self.state = {name: last[name] for name in self.state}
        within = f" and {last['batch']} batches of the next" if last["batch"] else ""
        self._say(f"resuming after epoch {last['epoch']}{within}")

    def _save_last(self, state: dict[str, Any]) -> None:
        if self.is_main:
            state = state | {"digest": self.objective.digest} | self.state | self.objective.training_state()
            save_checkpoint(self.out / "last.pt", state)

    def _leave(self, where: str) -> None:
        """End this process as the signal asks, once every process has what was saved."""
        number = self.stopped_by[0] if self.stopped_by else signal.SIGTERM
        self._say(f"stopped by {signal.Signals(number).name} {where}; the same command goes on from there")
        self.world.barrier()
        sys.exit(128 + number)

    def _write_config(self) -> None:
        cuda = self.device.type == "cuda"
        write_config(
            self.run,
            classes=list(self.objective.classes),
            hardware=torch.cuda.get_device_name(self.device) if cuda else platform.processor() or platform.machine(),
            precision=self.objective.precision,
            processes=self.world.world_size,
            threads=torch.get_num_threads(),
            git_revision=_git_revision(),
            python=platform.python_version(),
            packages=_versions("torch", "torchaudio", "numpy"),
        )

    def _say(self, text: str) -> None:
        if self.is_main:
            say(text)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Yield the list in which a scheduler's signals to end are noted, in place of ending the process."""
    caught: list[int] = []
    handled = (signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, lambda number, _frame: caught.append(number)) for number in handled}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _git_revision() -> str:
    command = ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _versions(*packages: str) -> dict[str, str]:
    """Return the versions of those packages that are installed: training itself needs no torchaudio."""
    found = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _tensorboard(folder: Path, done: int):
    """Return an event writer that hides what an interrupted run logged beyond epoch `done`."""
    from torch.utils.tensorboard import SummaryWriter  # takes a second to import, which `--help` need not wait for

    return SummaryWriter(str(folder), purge_step=done + 1)
