"""Training a classifier: planned batches of a store, a network, cross-entropy, and its figures on the dev set."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ser.augment.copypaste import BatchPlan, CopyPaste
from ser.augment.masking import SpecAugment
from ser.base.errors import SerError
from ser.base.files import fingerprint
from ser.data.labels import EMOTION_TABLE, NEUTRAL, Labels
from ser.features.packed import is_packed
from ser.features.store import in_length_order
from ser.nets.encoder_folder import is_encoder_folder
from ser.nets.image_classifier import ImageClassifier
from ser.nets.imagenet import SUFFIXES, load_weights
from ser.scoring.metrics import MEASURES, count_confusion
from ser.training.checkpoint import transfer
from ser.training.device import resolve_precision
from ser.training.distributed import World
from ser.training.evaluation import losses_and_choices
from ser.training.frozen import FrozenStore, frozen_for_evaluation
from ser.training.optimiser import freeze, make_optimiser, set_rate_factor, set_training
from ser.training.options import TrainOptions
from ser.training.run_folder import inputs_hash
from ser.training.runs import Run
from ser.training.systems import SYSTEMS, Store


def make_plans(data: Sequence[str], options: TrainOptions) -> tuple[CopyPaste, Labels, Sequence[str]]:
    """Return the planner of a training, its labels and its utterances, from tables alone, without reading features."""
    system = SYSTEMS[options.system]
    utterances, lengths = system.lengths(data)
    labels = system.labels(data, utterances, options.labels)
    emotions = options.labels == EMOTION_TABLE
    neutral = labels.classes.index(NEUTRAL) if emotions and NEUTRAL in labels.classes else None
    # Examples that are all of one length, such as images, are whole.
    crop = options.rows(options.crop) if system.can_join else int(np.max(lengths, initial=1))
    plans = CopyPaste(
        labels.indices, lengths, options.scheme, neutral, options.batch_size, crop,
        options.short_utt, options.seed, min_crop=options.rows(options.min_crop), window=options.window,
    )
    return plans, labels, utterances


class Classification:
    """The network of a run with its optimiser and its data, as `ser.training.trainer.Trainer` trains it."""

    def __init__(self, run: Run, device: torch.device, world: World) -> None:
        self.run, self.options, self.device, self.world = run, run.options, device, world
        self.system = SYSTEMS[self.options.system]
        self.precision = resolve_precision(self.options.precision, device)
        self.front_end = self.system.front_end([*run.train, run.dev])

    # ---- data

    def load(self) -> None:
        """Read the data and make the network and its optimiser.

        Raises:
            SerError: data, labels or the pre-trained model are missing, damaged, or do not fit each other.
        """
        options, train = self.options, self.run.train
        self.plans, labels, _ = make_plans(train, options)
        self.classes, self.examples = labels.classes, len(labels.indices)
        if self.examples // self.plans.batches_per_epoch < self.world.world_size:
            raise SerError(f"{self.world.world_size} processes share batches of {options.batch_size} of "
                           f"{self.examples} utterances: some would have none; ask for fewer processes")
        self.epochs = options.epochs_of(self.plans.batches_per_epoch)
        self.train, self.dev = self._load(train), self._load([self.run.dev])
        self.world.barrier()
        self.dev_labels = Labels.read([self.run.dev], self.dev.utterances, labels.classes, options.labels)
        content = fingerprint(self.train.digest, self.dev.digest)
        self.digest = fingerprint(inputs_hash(self.run, content), options.identity())
        self.make_network(labels)

    def make_network(self, labels: Labels) -> None:
        """Make the network, its optimiser, and what else trains it on these labels."""
        options = self.options
        torch.manual_seed(options.seed)
        self.network = self.system.networks[options.network].build(self.train.dim, len(self.classes), options)
        if Path(options.init).suffix in SUFFIXES:
            load_weights(self.network, options.init)
        elif options.init != "random" and not is_encoder_folder(options.init):
            transfer(self.network, options.init, self.front_end)
        elif options.input_scaling == "deviations":
            self.network.deviations.copy_(self.train.deviations())
        self.network = self.network.to(self.device)
        freeze(self.network, options)
        self.parallel = self.world.parallel(self.network)
        self.optimiser = make_optimiser(self.network, options)
        # What is evaluated and kept: the network itself, or the average of its weights over the last updates.
        self.best = self.network
        if options.average:
            self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(options.average))
            self.best = self.average.module
        self.masking = SpecAugment(options.time_masks, options.time_mask_width, options.frequency_masks,
                                   options.frequency_mask_width)
        masked = options.time_masks or options.frequency_masks
        if isinstance(self.network, ImageClassifier) and self.world.world_size == 1 and not masked:
            self._compute_frozen()
        self.weights = None
        if options.class_weights == "balanced":
            counts = np.bincount(labels.indices, minlength=len(self.classes))
            self.weights = torch.from_numpy(self.examples / (len(self.classes) * counts)).float().to(self.device)

    def _compute_frozen(self) -> None:
        """Let what the network's first layers make of the images, if they are frozen, take the place of the images."""
        if self.network.frozen_layers():
            self.train = FrozenStore(self.train, self.run.train[0], self.network, self.precision,
                                     self.options.batch_size)
            self.dev = frozen_for_evaluation(self.dev, self.run.dev, self.network)

    def _load(self, data: Sequence[str]) -> Store:
        """Return the store of a set; where several processes of a node want it, one copies it and all map the copy."""
        if self.world.world_size == 1 or is_packed(data[0]):
            return self.system.load(data, self.device)
        # One name for this run and node, so that what a kill leaves behind is used up by the next start.
        name = f"ser-{fingerprint(self.run.folder.resolve(), data)[:16]}-{self.world.node}"
        folder = Path(tempfile.gettempdir()) / name
        try:
            if self.world.local_rank == 0:
                self.system.share(data, folder)
            self.world.barrier()
            store = self.system.load([str(folder)], self.device)
            store.utterances = list(store.utterances)  # which is otherwise read when asked for
            self.world.barrier()
        finally:
            if self.world.local_rank == 0:
                shutil.rmtree(folder, ignore_errors=True)  # the mappings keep what they need of it
        return store

    def describe(self) -> str:
        """Return what is trained on what, in a line."""
        threads = f"{torch.get_num_threads()} threads"
        if self.world.world_size > 1:
            threads += f" in each of {self.world.world_size} processes"
        return (f"{self.examples} utterances, {len(self.dev.lengths)} dev, {len(self.classes)} classes, scheme "
                f"{self.options.scheme}, {self.device.type} {self.precision}, {threads}")

    # ---- training

    def batches(self, epoch: int, first: int) -> Iterator[BatchPlan]:
        """Yield what is left of an epoch, from batch `first` on, with the network in training mode."""
        set_training(self.network, self.options)
        for number, plan in enumerate(self.plans.epoch(epoch, first), first):
            batch = self.options.seed, epoch, number
            # What layers draw (dropout) belongs to the batch, as its plan does, wherever a training is taken up.
            torch.manual_seed(np.random.SeedSequence((*batch, self.world.rank)).generate_state(1, np.uint64).item())
            if self.options.time_masks or self.options.frequency_masks:
                plan = replace(plan, masks=self.masking.draw(plan.filled.sum(1), self.train.dim, batch))
            yield plan

    def step(self, plan: BatchPlan, epoch: float) -> Tensor:
        """Take one step of the optimiser on a batch, `epoch` epochs, whole and parts, after the beginning.

        Returns:
            The sum of the losses of this process's examples, on the device: reading it would make a GPU wait.
        """
        if plan.ahead is not None:
            self.train.prefetch(plan.ahead)
        examples, plan = len(plan), plan.share(self.world.rank, self.world.world_size)
        passes, total = self._passes(plan), torch.zeros((), device=self.device)
        set_rate_factor(self.optimiser, self.options.rate_factor(epoch, self.epochs, self.plans.batches_per_epoch))
        self.optimiser.zero_grad(set_to_none=True)
        for number, part in enumerate(passes, 1):
            rows, lengths = self.train.batch(part)
            labels = torch.from_numpy(part.labels).to(self.device, non_blocking=True)
            with self.world.gradients(self.parallel, shared=number == len(passes)):
                with self._autocast():
                    logits = self.parallel(rows, lengths, labels)
                loss = F.cross_entropy(logits.float(), labels, self.weights, reduction="sum",
                                       label_smoothing=self.options.label_smoothing)
                # Gradients are averaged over processes: in all, the gradient of the whole batch's mean.
                (loss * (self.world.world_size / examples)).backward()
            total += loss.detach()
        if self.options.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip)
        self.optimiser.step()
        if self.options.average:
            self.average.update_parameters(self.network)
        return total

    def _passes(self, plan: BatchPlan) -> list[BatchPlan]:
        """Return a batch in the parts that go through the network one after the other, of like lengths each."""
        if not self.options.pass_seconds:
            return [plan]
        rows = self.options.rows(self.options.pass_seconds)
        return [plan.select(indices) for indices in in_length_order(plan.filled.sum(1), rows)]

    def evaluate(self, epoch: int) -> dict[str, float]:
        """Re-estimate batch-norm statistics; return the dev set's loss (nats an utterance) and every measure."""
        if self.options.precise_bn:
            self._estimate_statistics(self.plans.plain(epoch, self.options.precise_bn))
        truth = self.dev_labels.indices
        losses, choices = losses_and_choices(self.best, self.dev, truth, self.world)
        confusion = count_confusion(truth, choices, len(self.classes))
        return {"loss": float(losses.mean()), **{name: float(measure(confusion)) for name, measure in MEASURES.items()}}

    @torch.no_grad()
    def _estimate_statistics(self, batches: Iterable[BatchPlan]) -> None:
        """Replace batch-norm running averages, which lag behind the weights, by means over a few plain batches."""
        set_training(self.best, self.options)
        norms = [module for module in self.best.modules()
                 if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average
        for plan in batches:
            rows, lengths = self.train.batch(plan.share(self.world.rank, self.world.world_size))
            with self._autocast():
                self.best.embed(rows, lengths)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    # ---- checkpoints

    def state(self) -> dict[str, Any]:
        """Return what evaluation and transfer need of the network as it is now."""
        return {
            "model": self.best.state_dict(), "classes": list(self.classes), "dim": self.train.dim,
            "front_end": self.front_end, "options": self.options.changed(), "examples": self.examples,
            "built_from": getattr(self.network, "built_from", {}),
        }

    def training_state(self) -> dict[str, Any]:
        """Return what going on needs besides `state`."""
        state = {"optimiser": self.optimiser.state_dict()}
        if self.options.average:
            state |= {"network": self.network.state_dict(), "updates": self.average.n_averaged}
        return state

    def resume(self, last: dict[str, Any]) -> None:
        """Take up what `state` and `training_state` returned."""
        self.best.load_state_dict(last["model"])
        if self.options.average:
            self.network.load_state_dict(last["network"])
            self.average.n_averaged.copy_(last["updates"])
        self.optimiser.load_state_dict(last["optimiser"])
