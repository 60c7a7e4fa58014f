"""The training loop: CopyPaste batches, Adam, the best epoch by weighted F1 on the dev set, resumable at any kill."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from sklearn.metrics import f1_score

from ser.checkpoint import load_checkpoint, save_checkpoint, transfer
from ser.copypaste import CopyPaste, count_kinds
from ser.errors import SerError
from ser.evaluation import log_posteriors
from ser.files import Marker, fingerprint, remove_leftovers, write_text
from ser.labels import NEUTRAL, Labels
from ser.model import ResNet34
from ser.options import TrainOptions
from ser.store import FeatureStore, features_digest, front_end
from ser.tables import read_table

FINISHED = ".train.done"  # in a run's folder: all epochs are done


def planner(data: Sequence[str], options: TrainOptions, scheme: str, seed: int) -> tuple[CopyPaste, Labels, list[str]]:
    """The planner of a training, its labels and its utterances, from the tables of its data directories alone."""
    lengths: dict[str, int] = {}
    for folder in data:
        lengths.update({u: int(n) for u, n in read_table(Path(folder) / "utt2num_frames").items()})
    utterances = list(lengths)
    labels = Labels.read(data, utterances)
    neutral = labels.classes.index(NEUTRAL) if NEUTRAL in labels.classes else None
    plans = CopyPaste(
        labels.indices, list(lengths.values()), scheme, neutral,
        options.batch_size, options.crop, options.short_utt, seed,
    )
    return plans, labels, utterances


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise SerError("--device cuda: this torch sees no GPU; use --device cpu, or check nvidia-smi and the driver")
    return torch.device(name)


def resolve_precision(precision: str, device: torch.device) -> str:
    """`auto` is bf16 where the device multiplies bf16 natively, else fp32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"


class Trainer:
    """One training run, from tables to `best.pt`.

    Args:
        train, dev: data directories with voiced features and labels.
        out: the run's folder.
        options: of conf/train.yaml.
        scheme: a CopyPaste scheme.
        seed: of initial weights and of batch plans.
        device: where to train.
        init: a pre-trained model's folder, or None for random weights.

    Leaves in `out`: `best.pt` (the epoch with the best dev weighted F1), `last.pt` (to resume from), `config.yaml`,
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
    ) -> None:
        self.train_data, self.dev_data, self.out = list(train), dev, out
        self.options, self.scheme, self.seed, self.device, self.init = options, scheme, seed, device, init
        self.precision = resolve_precision(options.precision, device)
        self.front_end = front_end([*train, dev])

    def _digest(self, *features: str) -> str:
        """Everything that the weights depend on; epochs apart, so that a longer training continues a shorter one."""
        labels = [Path(folder) / "utt2emo" for folder in [*self.train_data, self.dev_data]]
        options = {**asdict(self.options), "epochs": None, "precision": self.precision}
        donor = Path(self.init) if self.init else None
        if donor is not None and donor.is_dir():
            donor = donor / "best.pt"
        return fingerprint(*features, *labels, options, self.scheme, self.seed, self.device.type, donor)

    def run(self) -> None:
        """Train, or take up where an interrupted run stopped, or return at once if there is nothing left to do."""
        # Whether there is anything to do is asked without reading features, by what makes them differ.
        unread = self._digest(features_digest([*self.train_data, self.dev_data]))
        marker = Marker(self.out / FINISHED, fingerprint(unread, self.options.epochs))
        best_path, last_path = self.out / "best.pt", self.out / "last.pt"
        if marker.is_current():
            print(f"{self.out} is up to date", flush=True)
            return
        marker.clear()
        remove_leftovers(self.out)
        plans, labels, utterances = planner(self.train_data, self.options, self.scheme, self.seed)
        train = FeatureStore.load(self.train_data, self.device)
        dev = FeatureStore.load([self.dev_data], self.device)
        if train.utterances != utterances:
            raise SerError(f"{self.train_data[0]}: feats.scp and utt2num_frames disagree; run prepare_feats.sh again")
        dev_labels = Labels.read([self.dev_data], dev.utterances, labels.classes)
        digest = self._digest(train.digest, dev.digest)

        torch.manual_seed(self.seed)
        model = ResNet34(len(labels.classes))
        if self.init:
            transfer(model, self.init, self.front_end)
        model = model.to(self.device, memory_format=torch.channels_last)
        optimiser = torch.optim.Adam(model.parameters(), lr=self.options.learning_rate)
        state = self._resume(model, optimiser, digest)
        self._write_config(labels.classes)
        writer = _tensorboard(self.out / "tensorboard", state["epoch"])

        print(
            f"{len(train.utterances)} utterances, {len(dev.utterances)} dev, {len(labels.classes)} classes, scheme "
            f"{self.scheme}, {self.device.type} {self.precision}, {torch.get_num_threads()} threads", flush=True,
        )
        durations: list[float] = []
        for epoch in range(state["epoch"] + 1, self.options.epochs + 1):
            started = time.monotonic()
            batches = list(plans.epoch(epoch))
            loss = self._train_epoch(model, optimiser, train, batches)
            if not math.isfinite(loss):
                raise SerError(f"{self.out}: the loss of epoch {epoch} is {loss}; lower learning_rate, or use fp32")
            if self.options.precise_bn:
                self._estimate_statistics(model, train, plans.plain(epoch, self.options.precise_bn))
            scores = log_posteriors(model, dev)
            dev_loss = float(-scores[np.arange(len(scores)), dev_labels.indices].mean())
            dev_f1 = float(f1_score(dev_labels.indices, scores.argmax(1), average="weighted", zero_division=0))
            state["epoch"] = epoch
            shared = {
                "model": model.state_dict(), "classes": list(labels.classes), "front_end": self.front_end,
                "digest": digest, "epoch": epoch, "dev_weighted_f1": dev_f1,
            }
            if dev_f1 > state["best_f1"]:
                state.update(best_f1=dev_f1, best_epoch=epoch)
                save_checkpoint(best_path, shared)
            save_checkpoint(last_path, {**shared, **state, "optimiser": optimiser.state_dict()})

            durations.append(time.monotonic() - started)
            left = (self.options.epochs - epoch) * float(np.mean(durations))
            kinds = count_kinds(batches)
            for name, value in {"train/loss": loss, "dev/loss": dev_loss, "dev/weighted_f1": dev_f1}.items():
                writer.add_scalar(name, value, epoch)
            for name, value in kinds.items():
                writer.add_scalar(f"batches/{name}", value, epoch)
            alone = f", {kinds['alone']} without partner" if kinds["alone"] else ""
            print(
                f"epoch {epoch}/{self.options.epochs}: loss {loss:.4f}, dev loss {dev_loss:.4f}, dev weighted F1 "
                f"{100 * dev_f1:.2f} (best {100 * state['best_f1']:.2f} at {state['best_epoch']}){alone}, "
                f"{durations[-1]:.1f} s, {left:.0f} s left", flush=True,
            )
        writer.close()
        marker.write([best_path, last_path])

    def _resume(self, model: ResNet34, optimiser: torch.optim.Optimizer, digest: str) -> dict[str, Any]:
        """Load `last.pt` if it belongs to this very training; what it says of the epochs done and the best of them.

        What another training left here is withdrawn, scores included: nothing may take it for this one's.
        """
        fresh = {"epoch": 0, "best_f1": -1.0, "best_epoch": 0}
        best_path, last_path = self.out / "best.pt", self.out / "last.pt"
        if not last_path.exists():
            return fresh
        last = load_checkpoint(last_path)
        reason = ""
        if last["digest"] != digest:
            reason = "comes from other data or options"
        elif last["epoch"] > self.options.epochs:
            reason = f"has {last['epoch']} epochs, over {self.options.epochs}"
        if reason:
            print(f"{last_path} {reason}; training again from the start", flush=True)
            for stale in [last_path, best_path, *self.out.glob("score_*/score.json")]:
                stale.unlink(missing_ok=True)
            return fresh
        # Killed between its two files, a run has a best.pt one epoch newer than last.pt; that epoch is done again.
        if load_checkpoint(best_path)["epoch"] not in (last["best_epoch"], last["epoch"] + 1):
            raise SerError(f"{best_path} does not belong to {last_path}; delete {self.out} and train again")
        model.load_state_dict(last["model"])
        optimiser.load_state_dict(last["optimiser"])
        print(f"resuming after epoch {last['epoch']}", flush=True)
        return {name: last[name] for name in fresh}

    def _train_epoch(self, model: ResNet34, optimiser: torch.optim.Optimizer, train: FeatureStore, batches) -> float:
        """One pass over the planned batches; the mean loss of an example."""
        model.train()
        total = torch.zeros((), device=self.device)
        for plan in batches:
            features, lengths = train.batch(plan)
            labels = torch.from_numpy(plan.labels).to(self.device, non_blocking=True)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                logits = model(features, lengths)
            loss = F.cross_entropy(logits.float(), labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += loss.detach() * len(plan)  # stays on the device: reading it would make a GPU wait each step
        return float(total) / sum(map(len, batches))

    @torch.no_grad()
    def _estimate_statistics(self, model: ResNet34, train: FeatureStore, batches) -> None:
        """Replace batch-norm running averages, which lag behind the weights, by means over a few plain batches."""
        norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        momentum = norms[0].momentum
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average
        model.train()
        for plan in batches:
            features, lengths = train.batch(plan)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                model.embed(features, lengths)
        for norm in norms:
            norm.momentum = momentum

    def _write_config(self, classes: Sequence[str]) -> None:
        config = {
            "train_data": self.train_data,
            "dev_data": self.dev_data,
            "scheme": self.scheme,
            "seed": self.seed,
            "init": self.init or "random",
            "classes": list(classes),
            **asdict(self.options),
            "precision": self.precision,
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else platform.processor(),
            "threads": torch.get_num_threads(),
            "front_end": self.front_end,
            "git_revision": _git_revision(),
            "python": platform.python_version(),
            "packages": {name: importlib.metadata.version(name) for name in ("torch", "torchaudio", "numpy")},
        }
        write_text(self.out / "config.yaml", yaml.safe_dump(config, sort_keys=False))


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
