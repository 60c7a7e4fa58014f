"""Training emotional voice conversion on WORLD's features: generators of speech against critics that judge it.

What is reported of dev is watched alone, and chooses nothing: how well speech survives the way to each emotion and
back, and how far it is changed on the way there. The network that converts is the last one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ser.augment.copypaste import BatchPlan
from ser.augment.emotion_batches import EmotionBatches
from ser.base.errors import SerError
from ser.base.files import fingerprint
from ser.data.labels import NEUTRAL, Labels
from ser.nets.conversion import NEUTRAL_CLASS, PARTS, Discriminator
from ser.nets.world_columns import CEPSTRUM
from ser.training.distributed import World
from ser.training.optimiser import make_optimiser, set_rate_factor
from ser.training.run_folder import inputs_hash
from ser.training.runs import Run
from ser.training.systems import SYSTEMS

_PIECE = 128  # frames (Zhou et al., section 4.1)


class EmotionConversion(ABC):
    """What training has in common, whatever the losses are, as `ser.training.trainer.Trainer` trains it."""

    precision = "fp32"

    def __init__(self, run: Run, device: torch.device, world: World) -> None:
        self.run, self.options, self.device, self.world = run, run.options, device, world
        self.system = SYSTEMS[self.options.system]
        self.front_end = self.system.front_end([*run.train, run.dev])

    # ---- data

    def load(self) -> None:
        """Read the data and make the networks and their optimisers.

        Raises:
            SerError: data are missing or damaged, or have no neutral utterance, or nothing else; or several processes
                are to train.
        """
        options = self.options
        if self.world.world_size > 1:
            raise SerError(f"{options.network}: is trained in one process; ask for no more")
        self.train, self.dev = (self.system.load(data, self.device) for data in (self.run.train, [self.run.dev]))
        self.classes, labels = self._labels()
        size = max(1, options.batch_size // len(self.classes))
        self.plans = EmotionBatches(labels, self.train.lengths, size, _PIECE, options.seed)
        self.examples = self.plans.batches_per_epoch * size * len(self.classes)
        self.epochs = options.epochs_of(self.plans.batches_per_epoch)
        content = fingerprint(self.train.digest, self.dev.digest)
        self.digest = fingerprint(inputs_hash(self.run, content), options.identity())
        torch.manual_seed(options.seed)
        network = self.system.networks[options.network].build(self.train.dim, len(self.classes), options)
        self.network = network.to(self.device)
        for emotion, members in enumerate(self.plans.members):
            self.network.learn_statistics(emotion, self.train.whole(members)[0])
        self.critics = self.make_critics().to(self.device)
        self.optimiser = make_optimiser(self.network, options)
        self.critic_optimiser = torch.optim.Adam(
            self.critics.parameters(), options.critic_rate, (options.beta1, options.beta2))

    def _labels(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the emotions, neutral first, and that of each training utterance; find dev's neutral utterances."""
        run, table = self.run, self.options.labels
        found = Labels.read(run.train, self.train.utterances, table=table).classes
        where = " ".join(run.train)
        if NEUTRAL not in found or len(found) < 2:
            raise SerError(f"{where}: has the emotions {', '.join(found)}; conversion starts from {NEUTRAL} and needs "
                           "another one to go to")
        classes = (NEUTRAL, *(name for name in found if name != NEUTRAL))
        dev = Labels.read([run.dev], self.dev.utterances, classes, table)
        self.watched = np.flatnonzero(dev.indices == NEUTRAL_CLASS)
        if not len(self.watched):
            raise SerError(f"{run.dev}: has no {NEUTRAL} utterance to watch the training on")
        return classes, Labels.read(run.train, self.train.utterances, classes, table).indices

    def describe(self) -> str:
        """Return what is trained on what, in a line."""
        size, judging = (sum(map(torch.numel, each.parameters())) / 1e6 for each in (self.network, self.critics))
        return (f"{len(self.train.lengths)} utterances of {', '.join(self.classes)}, {len(self.watched)} dev, "
                f"{size:.1f} million parameters and {judging:.1f} of critics, {self.device.type}, "
                f"{torch.get_num_threads()} threads")

    # ---- training

    @abstractmethod
    def make_critics(self) -> nn.Module:
        """Return what judges the network's speech."""

    def batches(self, epoch: int, first: int) -> Iterator[BatchPlan]:
        """Yield what is left of an epoch, from batch `first` on, with the network in training mode."""
        self.network.train()
        for number, plan in enumerate(self.plans.epoch(epoch, first), first):
            seed = np.random.SeedSequence((self.options.seed, epoch, number))
            torch.manual_seed(seed.generate_state(1, np.uint64).item())
            yield plan

    def step(self, plan: BatchPlan, epoch: float) -> Tensor:
        """Take one step of the optimisers on a batch, `epoch` epochs, whole and parts, after the beginning.

        Returns:
            The sum of the losses of its examples, on the device.
        """
        set_rate_factor(self.optimiser, self.options.rate_factor(epoch, self.epochs, self.plans.batches_per_epoch))
        rows, _ = self.train.batch(plan)
        emotions = torch.from_numpy(plan.labels).to(self.device)
        pieces = self.network.normalised(rows.view(len(plan), _PIECE, -1), emotions)
        return len(plan) * self.learn(pieces, emotions, int(epoch * self.plans.batches_per_epoch))

    @abstractmethod
    def learn(self, pieces: Tensor, emotions: Tensor, updates: int) -> Tensor:
        """Do what `step` does with normalised pieces (B, C, T) of emotions (B,), after so many updates.

        Returns:
            The loss of an example.
        """

    @torch.no_grad()
    def evaluate(self, epoch: int) -> dict[str, float]:
        """Return means over dev's neutral utterances and all targets, in deviations of normalised features.

        `loss` is the distance of what went there and back from what it was, `shift` that of what went there.
        """
        self.network.eval()
        figures = []
        for index in self.watched:
            rows, _ = self.dev.whole(np.array([index]))
            x = self.network.normalised(rows[None], torch.tensor([NEUTRAL_CLASS], device=self.device))
            for target in range(1, len(self.classes)):
                made = self.network.mapped(x, target)
                figures.append([_distance(self.network.restored(made, target), x).item(), _distance(made, x).item()])
        return dict(zip(("loss", "shift"), np.mean(figures, 0).tolist(), strict=True))

    # ---- checkpoints

    def state(self) -> dict[str, Any]:
        """Return what converting needs of the network as it is now."""
        return {
            "model": self.network.state_dict(), "classes": list(self.classes), "dim": self.train.dim,
            "front_end": self.front_end, "options": self.options.changed(),
        }

    def training_state(self) -> dict[str, Any]:
        """Return what going on needs besides `state`."""
        return {"optimiser": self.optimiser.state_dict(), "critics": self.critics.state_dict(),
                "critic_optimiser": self.critic_optimiser.state_dict()}

    def resume(self, last: dict[str, Any]) -> None:
        """Take up what `state` and `training_state` returned."""
        self.network.load_state_dict(last["model"])
        self.optimiser.load_state_dict(last["optimiser"])
        self.critics.load_state_dict(last["critics"])
        self.critic_optimiser.load_state_dict(last["critic_optimiser"])


class CycleGanConversion(EmotionConversion):
    """CycleGAN: two generators an emotion, from neutral and back, and least-squares critics of what each makes.

    The weights are CycleGAN-VC's (Kaneko and Kameoka, EUSIPCO 2018); that of identity is for the first updates only.
    """

    CYCLE, IDENTITY, IDENTITY_UPDATES = 10.0, 5.0, 10_000

    def make_critics(self) -> nn.Module:
        return nn.ModuleDict({
            name: Discriminator(part.stop - part.start, self.options.width, groups=2 * self.network.pairs)
            for name, part in PARTS.items()})

    def learn(self, pieces: Tensor, emotions: Tensor, updates: int) -> Tensor:
        identity = self.IDENTITY if updates < self.IDENTITY_UPDATES else 0.0
        neutral, others = pieces[: len(pieces) // len(self.classes)], pieces[len(pieces) // len(self.classes) :]
        pairs, loss, wrong = self.network.pairs, pieces.new_zeros(()), pieces.new_zeros(())
        for name, part in PARTS.items():
            ends = neutral[:, part].repeat(1, pairs, 1), torch.cat(others[:, part].chunk(pairs), 1)
            generator, critic = self.network.generators[name], self.critics[name]
            read, wanted = torch.cat(ends, 1), torch.cat(ends[::-1], 1)
            made, kept = generator(torch.cat([read, wanted])).chunk(2)
            loss = loss + _square(critic(made) - 1)
            # What went there comes back by the other half of the generators, and the other way round.
            loss = loss + self.CYCLE * _distance(generator(torch.cat(made.chunk(2, 1)[::-1], 1)), wanted)
            loss = loss + identity * _distance(kept, wanted)
            true, false = critic(torch.cat([wanted, made.detach()])).chunk(2)
            wrong = wrong + _square(true - 1) + _square(false)
        _update(self.optimiser, loss)
        _update(self.critic_optimiser, wrong)
        return loss.detach()


class StarGanConversion(EmotionConversion):
    """StarGAN (Rizos et al., ICASSP 2020): one generator, a Wasserstein critic that knows the emotion, a classifier.

    The weights are the paper's, but for the classifier's. The generator is trained in one of five updates, as in the
    paper's program. The loss that is reported is the critic's and the classifier's.
    """

    CYCLE, IDENTITY, PENALTY, EMOTION = 3.0, 2.0, 5.0, 1.0
    EVERY = 5

    def make_critics(self) -> nn.Module:
        size, width, emotions = CEPSTRUM.stop, self.options.width, len(self.classes)
        return nn.ModuleDict({"critic": Discriminator(size, width, codes=emotions),
                              "classifier": Discriminator(size, width, scores=emotions)})

    def learn(self, pieces: Tensor, emotions: Tensor, updates: int) -> Tensor:
        generator, critic, classifier = self.network.generator, self.critics["critic"], self.critics["classifier"]
        true, targets = pieces[:, CEPSTRUM], torch.randint(len(self.classes), emotions.shape, device=pieces.device)
        own, wanted = (F.one_hot(each, len(self.classes)).to(true) for each in (emotions, targets))
        made = generator(true, wanted)
        wrong = critic(made.detach(), wanted).mean() - critic(true, own).mean()
        wrong = wrong + self.PENALTY * _gradient_penalty(critic, true, made.detach(), wanted)
        wrong = wrong + F.cross_entropy(classifier(true), emotions)
        _update(self.critic_optimiser, wrong)
        if updates % self.EVERY == self.EVERY - 1:
            loss = self.EMOTION * F.cross_entropy(classifier(made), targets) - critic(made, wanted).mean()
            loss = loss + self.CYCLE * _distance(generator(made, own), true)
            _update(self.optimiser, loss + self.IDENTITY * _distance(generator(true, own), true))
        return wrong.detach()


def _gradient_penalty(critic: nn.Module, true: Tensor, made: Tensor, codes: Tensor) -> Tensor:
    """Return how far the norm of the critic's gradient is from 1 between true and made (Gulrajani et al., 2017)."""
    share = torch.rand(len(true), 1, 1, device=true.device)
    between = (share * true + (1 - share) * made).requires_grad_()
    gradient, = torch.autograd.grad(critic(between, codes).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def _update(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def _square(x: Tensor) -> Tensor:
    return x.square().mean()


def _distance(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().mean()
