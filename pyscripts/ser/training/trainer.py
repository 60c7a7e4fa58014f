"""The training loop: planned batches, Adam, the best epoch on the dev set, resumable at any kill."""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import math
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import nn

from ser.augment.copypaste import BatchPlan, CopyPaste, count_kinds
from ser.base.errors import SerError
from ser.base.files import Marker, fingerprint, remove_leftovers, write_text
from ser.base.kaldi_tables import read_table
from ser.base.progress import progress
from ser.data.labels import EMOTION_TABLE as EMOTIONS
from ser.data.labels import NEUTRAL, Labels
from ser.features.packed import Pack, is_packed, label_file, pack
from ser.features.store import FeatureStore, features_digest, front_end
from ser.nets.resnet import ResNet34
from ser.scoring.predictions import weighted_f1_of_counts
from ser.training.checkpoint import FINISHED, load_checkpoint, save_checkpoint, transfer
from ser.training.device import resolve_precision
from ser.training.distributed import World
from ser.training.evaluation import losses_and_choices
from ser.training.options import TrainOptions

_SAVE_SECONDS = 600.0  # within a long epoch: what a lost machine costs at most


def planner(
    data: Sequence[str], options: TrainOptions, scheme: str, seed: int, table: str = EMOTIONS
) -> tuple[CopyPaste, Labels]:
    """The planner of a training and its labels, from the tables of its data directories alone."""
    if is_packed(data[0]):
        packed = Pack(data[0])
        lengths, labels = packed.lengths, Labels(*packed.labels(table))
    else:
        frames = _frame_counts(data)
        lengths, labels = np.array(list(frames.values())), Labels.read(data, list(frames), table=table)
    neutral = labels.classes.index(NEUTRAL) if table == EMOTIONS and NEUTRAL in labels.classes else None
    plans = CopyPaste(
        labels.indices, lengths, scheme, neutral, options.batch_size, options.crop, options.short_utt, seed,
        min_crop=options.min_crop, window=options.window,
    )
    return plans, labels


def utterances_of(data: Sequence[str]) -> list[str]:
    """The utterances that a plan's indices stand for."""
    return Pack(data[0]).utterances if is_packed(data[0]) else list(_frame_counts(data))


def _frame_counts(data: Sequence[str]) -> dict[str, int]:
    """Frames of each utterance of data directories."""
    frames: dict[str, int] = {}
    for folder in data:
        frames.update({u: int(n) for u, n in read_table(Path(folder) / "utt2num_frames").items()})
    return frames


class Trainer:
    """One training run, from tables to `best.pt`.

    Args:
        train, dev: data directories with voiced features and labels; `train` may be one packed set instead.
        out: the run's folder.
        options: of conf/train.yaml.
        scheme: a CopyPaste scheme.
        seed: of initial weights and of batch plans.
        device: where to train.
        init: a pre-trained model's folder, or None for random weights.
        table: the data directories' table of labels.
        world: the processes that train together, each with a `Trainer` of the same arguments.

    Leaves in `out`: `best.pt` (the best epoch on the dev set), `last.pt` (to resume from), `config.yaml`,
    `tensorboard/`, and at the end the marker `FINISHED`.
    """

    def __init__(
        self,
        train: Sequence[str],
        dev: str,
        out: Path,
        options: TrainOptions,
        scheme: str,
        seed: int,
        device: torch.device,
        init: str | None = None,
        table: str = EMOTIONS,
        world: World | None = None,
    ) -> None:
        self.train_data, self.dev_data, self.out, self.table = list(train), dev, out, table
        self.options, self.scheme, self.seed, self.device, self.init = options, scheme, seed, device, init
        self.world = world or World()
        self.precision = resolve_precision(options.precision, device)
        self.front_end = front_end([*train, dev])

    def run(self) -> None:
        """Train, or take up where an interrupted run stopped, or return at once if there is nothing left to do.

        A SIGTERM or SIGUSR1 ends the process with 128 + the signal's number, once the current batch is done and saved.
        """
        # Whether there is anything to do is asked without reading features, by what makes them differ.
        unread = self._digest(features_digest([*self.train_data, self.dev_data]))
        marker = Marker(self.out / FINISHED, fingerprint(unread, self.options.epochs, self.options.patience))
        if self.world.tell(marker.is_current()):
            self._say(f"{self.out} is up to date")
            return
        finished = (self.out / FINISHED).exists()
        if self.world.leads:
            marker.clear()
            remove_leftovers(self.out)
        self.plans, labels = planner(self.train_data, self.options, self.scheme, self.seed, self.table)
        if len(labels.indices) // self.plans.batches_per_epoch < self.world.size:
            raise SerError(f"{self.world.size} processes share batches of {self.options.batch_size} of "
                           f"{len(labels.indices)} utterances: some would have none; ask for fewer processes")
        self.train = self._load(self.train_data)
        self.dev = self._load([self.dev_data])
        self.world.wait()
        if not is_packed(self.train_data[0]) and list(self.train.utterances) != utterances_of(self.train_data):
            raise SerError(f"{self.train_data[0]}: feats.scp and utt2num_frames disagree; run prepare_feats.sh again")
        self.dev_labels = Labels.read([self.dev_data], self.dev.utterances, labels.classes, self.table)
        self.classes, self.digest = labels.classes, self._digest(self.train.digest, self.dev.digest)

        torch.manual_seed(self.seed)
        angular = (self.options.margin, self.options.scale) if self.options.loss == "aam" else None
        self.model = ResNet34(len(self.classes), angular)
        if self.init:
            transfer(self.model, self.init, self.front_end)
        self.model = self.model.to(self.device, memory_format=torch.channels_last)
        self.parallel = self.world.parallel(self.model, self.device)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=self.options.learning_rate)
        self.state: dict[str, Any] = {
            "epoch": 0, "best_score": -math.inf, "best_epoch": 0,
            # Of an epoch that is under way: batches done, the sum of their losses, and how many were of each kind.
            "batch": 0, "loss": 0.0, "kinds": {},
        }
        self._resume(self.world.tell(self._last(finished) if self.world.leads else None))
        if self.world.leads:
            self._write_config()
            self.writer = _tensorboard(self.out / "tensorboard", self.state["epoch"])
        self._say(
            f"{len(self.train.lengths)} utterances, {len(self.dev.lengths)} dev, {len(self.classes)} classes, scheme "
            f"{self.scheme}, {self.device.type} {self.precision}, {torch.get_num_threads()} threads"
            + (f" in each of {self.world.size} processes" if self.world.size > 1 else "")
        )
        self._epochs()
        if self.world.leads:
            self.writer.close()
            marker.write([self.out / "best.pt", self.out / "last.pt"])

    # ---- epochs

    def _epochs(self) -> None:
        if self.options.epochs == 0:
            self._finish_epoch(0, math.nan, Counter())
        with _signals() as self.stopped_by:
            durations: list[float] = []
            for epoch in range(self.state["epoch"] + 1, self.options.epochs + 1):
                if self.options.patience and epoch > self.state["best_epoch"] + self.options.patience:
                    self._say(f"no better epoch in {self.options.patience}: training ends")
                    break
                started = time.monotonic()
                loss, kinds = self._train_epoch(epoch)
                if not math.isfinite(loss):
                    raise SerError(f"{self.out}: the loss of epoch {epoch} is {loss}; lower learning_rate, or use fp32")
                said = self._finish_epoch(epoch, loss, kinds)
                durations.append(time.monotonic() - started)
                left = (self.options.epochs - epoch) * float(np.mean(durations))
                self._say(f"{said}, {durations[-1]:.1f} s, {left:.0f} s left")

    def _train_epoch(self, epoch: int) -> tuple[float, Counter[str]]:
        """What is left of one pass over the planned batches; the mean loss of an example, and batches by kind."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        done, saved, count = self.state["batch"], time.monotonic(), self.plans.batches_per_epoch
        kinds = Counter(self.state["kinds"])
        self.model.train()
        for number, plan in enumerate(self._with_progress(epoch, done), done + 1):
            kinds.update(count_kinds([plan]))
            total += self._step(plan, self.options.rate(epoch - 1 + (number - 0.5) / count))
            late = time.monotonic() - saved > _SAVE_SECONDS
            stop, save = self.world.any(bool(self.stopped_by), late)
            if (stop or save) and number < count:
                self.state.update(batch=number, loss=self._sum_of_losses(total), kinds=dict(kinds))
                self._save_last()
                total.zero_()
                saved = time.monotonic()
                if stop:
                    self._leave(f"in epoch {epoch}, after {number} of {count} batches")
        loss = self._sum_of_losses(total) / len(self.train.lengths)
        self.state.update(batch=0, loss=0.0, kinds={})
        return loss, kinds

    def _with_progress(self, epoch: int, done: int) -> Iterator[BatchPlan]:
        plans, left = self.plans.epoch(epoch, done), self.plans.batches_per_epoch - done
        return progress(plans, left, f"epoch {epoch}", "batches") if self.world.leads else plans

    def _step(self, plan: BatchPlan, rate: float) -> torch.Tensor:
        """One step of the optimiser; the sum of the losses of this process's examples."""
        if plan.ahead is not None:
            self.train.prefetch(plan.ahead)
        examples, plan = len(plan), plan.share(self.world.rank, self.world.size)
        features, lengths = self.train.batch(plan)
        labels = torch.from_numpy(plan.labels).to(self.device, non_blocking=True)
        with self._autocast():
            logits = self.parallel(features, lengths, labels)
        loss = F.cross_entropy(logits.float(), labels, reduction="sum")
        self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        # Gradients are averaged over processes: in all, the gradient of the whole batch's mean.
        (loss * (self.world.size / examples)).backward()
        self.optimiser.step()
        return loss.detach()  # stays on the device: reading it would make a GPU wait each step

    def _sum_of_losses(self, total: torch.Tensor) -> float:
        return self.state["loss"] + float(self.world.sum(total.cpu().numpy()))

    @torch.no_grad()
    def _estimate_statistics(self, batches: Iterable[BatchPlan]) -> None:
        """Replace batch-norm running averages, which lag behind the weights, by means over a few plain batches."""
        norms = [module for module in self.model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        momentum = norms[0].momentum
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average
        self.model.train()
        for plan in batches:
            features, lengths = self.train.batch(plan.share(self.world.rank, self.world.size))
            with self._autocast():
                self.model.embed(features, lengths)
        for norm in norms:
            norm.momentum = momentum

    def _finish_epoch(self, epoch: int, loss: float, kinds: Counter[str]) -> str:
        """Evaluate and save; what there is to say of the epoch."""
        if self.options.precise_bn:
            self._estimate_statistics(self.plans.plain(epoch, self.options.precise_bn))
        losses, choices = losses_and_choices(self.model, self.dev, self.dev_labels.indices, self.world)
        truth = self.dev_labels.indices
        of_classes = (truth, choices, truth[truth == choices])
        counts = (np.bincount(those, minlength=len(self.classes)) for those in of_classes)
        dev_loss, dev_f1 = float(losses.mean()), float(weighted_f1_of_counts(*counts))
        score = dev_f1 if self.options.select == "weighted_f1" else -dev_loss
        self.state["epoch"] = epoch
        best = score > self.state["best_score"]
        if best:
            self.state.update(best_score=score, best_epoch=epoch)
        if self.world.leads:
            shared = self._shared() | {"dev_weighted_f1": dev_f1, "dev_loss": dev_loss}
            if best:
                save_checkpoint(self.out / "best.pt", shared)
            self._save_last(shared)
            for name, value in {"train/loss": loss, "dev/loss": dev_loss, "dev/weighted_f1": dev_f1,
                                **{f"batches/{name}": count for name, count in kinds.items()}}.items():
                self.writer.add_scalar(name, value, epoch)
        alone = f", {kinds['alone']} without partner" if kinds["alone"] else ""
        return (
            f"epoch {epoch}/{self.options.epochs}: loss {loss:.4f}, dev loss {dev_loss:.4f}, dev weighted F1 "
            f"{100 * dev_f1:.2f} (best at {self.state['best_epoch']}){alone}"
        )

    # ---- files

    def _load(self, data: list[str]) -> FeatureStore:
        """The features of data directories; where several processes of a node want them, one reads and all map."""
        if self.world.size == 1 or is_packed(data[0]):
            return FeatureStore.load(data, self.device)
        # One name for this run and node, so that what a kill leaves behind is used up by the next start.
        folder = Path(tempfile.gettempdir()) / f"ser-{fingerprint(self.out.resolve(), data)[:16]}-{self.world.node}"
        try:
            if self.world.leads_node:
                pack(data, folder, "float32")
            self.world.wait()
            store = FeatureStore.load([str(folder)], self.device)
            store.utterances = list(store.utterances)  # which is otherwise read when asked for
            self.world.wait()
        finally:
            if self.world.leads_node:
                shutil.rmtree(folder, ignore_errors=True)  # the mappings keep what they need of it
        return store

    def _digest(self, *features: str) -> str:
        """What the weights depend on; when to end apart, so that a longer training continues a shorter one."""
        labels = [label_file(folder, self.table) for folder in [*self.train_data, self.dev_data]]
        options = {**asdict(self.options), "precision": self.precision, "patience": None}
        if self.options.schedule != "cosine":  # which is cut to the number of epochs
            options["epochs"] = None
        donor = Path(self.init) if self.init else None
        if donor is not None and donor.is_dir():
            donor = donor / "best.pt"
        return fingerprint(*features, *labels, options, self.scheme, self.seed, self.device.type, donor)

    def _last(self, finished: bool) -> dict[str, Any] | None:
        """`last.pt` if it belongs to this very training.

        What another training left here is withdrawn, scores included: nothing may take it for this one's. The network
        of one that had finished is kept under another name.
        """
        best_path, last_path = self.out / "best.pt", self.out / "last.pt"
        if not last_path.exists():
            return None
        last = load_checkpoint(last_path)
        reason = ""
        if last["digest"] != self.digest:
            reason = "comes from other data or options"
        elif last["epoch"] > self.options.epochs:
            reason = f"has {last['epoch']} epochs, over {self.options.epochs}"
        if reason:
            self._say(f"{last_path} {reason}; training again from the start")
            if finished and best_path.exists():
                kept = self.out / "replaced.pt"
                best_path.replace(kept)
                self._say(f"the network of the finished training that was here is kept as {kept}")
            scores = (self.out.glob(f"score_*/{name}") for name in ("score.json", "trials.json", "scores"))
            for stale in [last_path, best_path, *itertools.chain(*scores)]:
                stale.unlink(missing_ok=True)
            return None
        # Killed between its two files, a run has a best.pt one epoch newer than last.pt; that epoch is done again.
        known = (last["best_epoch"], last["epoch"] + 1)
        if (best_path.exists() or last["epoch"]) and load_checkpoint(best_path)["epoch"] not in known:
            raise SerError(f"{best_path} does not belong to {last_path}; delete {self.out} and train again")
        return last

    def _resume(self, last: dict[str, Any] | None) -> None:
        if last is None:
            return
        self.model.load_state_dict(last["model"])
        self.optimiser.load_state_dict(last["optimiser"])
        self.state = {name: last[name] for name in self.state}
        within = f" and {last['batch']} batches of the next" if last["batch"] else ""
        self._say(f"resuming after epoch {last['epoch']}{within}")

    def _shared(self) -> dict[str, Any]:
        """What both checkpoints have in common."""
        return {
            "model": self.model.state_dict(), "classes": list(self.classes), "front_end": self.front_end,
            "angular": self.model.angular, "digest": self.digest, "epoch": self.state["epoch"],
        }

    def _save_last(self, shared: dict[str, Any] | None = None) -> None:
        if self.world.leads:
            content = (shared or self._shared()) | self.state | {"optimiser": self.optimiser.state_dict()}
            save_checkpoint(self.out / "last.pt", content)

    def _leave(self, where: str) -> None:
        """End this process as the signal asks, once everybody has what was saved."""
        number = self.stopped_by[0] if self.stopped_by else signal.SIGTERM
        self._say(f"stopped by {signal.Signals(number).name} {where}; the same command goes on from there")
        self.world.wait()
        sys.exit(128 + number)

    def _write_config(self) -> None:
        cuda = self.device.type == "cuda"
        config = {
            "train_data": self.train_data,
            "dev_data": self.dev_data,
            "labels": self.table,
            "scheme": self.scheme,
            "seed": self.seed,
            "init": self.init or "random",
            "classes": list(self.classes),
            **asdict(self.options),
            "precision": self.precision,
            "device": torch.cuda.get_device_name(self.device) if cuda else platform.processor(),
            "processes": self.world.size,
            "threads": torch.get_num_threads(),
            "front_end": self.front_end,
            "git_revision": _git_revision(),
            "python": platform.python_version(),
            "packages": {name: importlib.metadata.version(name) for name in ("torch", "torchaudio", "numpy")},
        }
        write_text(self.out / "config.yaml", yaml.safe_dump(config, sort_keys=False))

    # ---- small things

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _say(self, text: str) -> None:
        if self.world.leads:
            print(text, flush=True)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """The list in which signals of a scheduler that wants the process to end are noted, in place of ending it."""
    caught: list[int] = []
    handled = (signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, lambda number, _frame: caught.append(number)) for number in handled}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _git_revision() -> str:
    root = Path(__file__).resolve().parent
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _tensorboard(folder: Path, done: int):
    """An event writer; what an interrupted run logged beyond epoch `done` is hidden."""
    from torch.utils.tensorboard import SummaryWriter  # takes a second to import, which `--help` need not wait for

    return SummaryWriter(str(folder), purge_step=done + 1)
