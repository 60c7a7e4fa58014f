"""Training EmoAug's network: it says each utterance of the data after its units and style; and against a critic.

Pre-training has the losses of `ser.nets.synthesis` alone. Fine-tuning (the option `adversarial`) has it say each batch
once more, in the style of another utterance of the same speaker and emotion, and adds the loss of a least-squares GAN
(Mao et al., ICCV 2017) on pieces of what it said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ser.augment.copypaste import BatchPlan
from ser.augment.length_batches import LengthBatches
from ser.base.errors import SerError
from ser.base.files import fingerprint
from ser.base.kaldi_tables import read_table
from ser.data.labels import EMOTION_TABLE, SPEAKER_TABLE
from ser.features.speech_store import Speech, SpeechStore
from ser.features.store import in_length_order
from ser.nets.layout import within
from ser.nets.speaker_folder import is_speaker_folder
from ser.nets.synthesis import Discriminator, Synthesis, Synthesiser, synthesis_losses
from ser.training.checkpoint import load_weights, transfer
from ser.training.distributed import World
from ser.training.optimiser import freeze, make_optimiser, set_rate_factor, set_training
from ser.training.run_folder import inputs_hash
from ser.training.runs import Run
from ser.training.systems import SYSTEMS

_PIECE = 128  # frames that the critic judges at a time
_LONGEST_FAKE = 1.5  # times the true utterance
_STYLES = 1000  # utterances, at most, whose styles' mean and deviation are taken for all of the corpus's


class SpeechSynthesis:
    """The network of a run with its optimiser and its data, as `ser.training.trainer.Trainer` trains it."""

    precision = "fp32"

    def __init__(self, run: Run, device: torch.device, world: World) -> None:
        self.run, self.options, self.device, self.world = run, run.options, device, world
        self.system = SYSTEMS[self.options.system]
        self.front_end = self.system.front_end([*run.train, run.dev])

    # ---- data

    def load(self) -> None:
        """Read the data and make the network, the critic and their optimisers.

        Raises:
            SerError: data or the pre-trained model are missing, damaged, or do not fit each other.
        """
        options = self.options
        self.train, self.dev = (self.system.load(data, self.device) for data in (self.run.train, [self.run.dev]))
        self.plans = LengthBatches(self.train.lengths, options.batch_size, options.seed, options.longest)
        self.examples = len(self.plans.utterances)
        if self.examples // self.plans.batches_per_epoch < self.world.world_size:
            raise SerError(f"{self.world.world_size} processes share batches of {options.batch_size} of "
                           f"{self.examples} utterances: some would have none; ask for fewer processes")
        self.epochs = options.epochs_of(self.plans.batches_per_epoch)
        self.classes = tuple(map(str, range(self.train.num_units)))
        content = fingerprint(self.train.digest, self.dev.digest)
        self.digest = fingerprint(inputs_hash(self.run, content), options.identity())
        torch.manual_seed(options.seed)
        network = self.system.networks[options.network].build(self.train.dim, len(self.classes), options)
        self.network = network.to(self.device)
        if not is_speaker_folder(options.init):
            transfer(network, options.init, self.front_end)
        else:  # the mean spectrum, which is far from 0, need not be learnt, nor what styles have in common
            network.decoder.mel.bias.data.copy_(self.train.means().repeat(options.reduction_factor))
            some = np.unique(np.linspace(0, self.examples - 1, _STYLES).astype(int))
            network.standardise(styles_of(network.eval(), self.train, self.plans.utterances[some]))
        freeze(self.network, options)
        self.parallel = self.world.parallel(self.network)
        self.optimiser = make_optimiser(self.network, options)
        self.critic = None
        if options.adversarial:
            self.groups = _groups(self.run.train, self.train.utterances)
            self.critic = Discriminator(self.train.dim[0]).to(self.device)
            self.parallel_critic = self.world.parallel(self.critic)
            self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), options.critic_rate)

    def describe(self) -> str:
        """Return what is trained on what, in a line."""
        left_out = len(self.train.lengths) - self.examples
        size = sum(map(torch.numel, self.network.parameters())) / 1e6
        return (f"{self.examples} utterances{f' ({left_out} longer ones left out)' * bool(left_out)}, "
                f"{len(self.dev.lengths)} dev, {len(self.classes)} units, {size:.1f} million parameters"
                f"{', with a critic' * bool(self.critic)}, {self.device.type}, {torch.get_num_threads()} threads")

    # ---- training

    def batches(self, epoch: int, first: int) -> Iterator[BatchPlan]:
        """Yield what is left of an epoch, from batch `first` on, with the network in training mode."""
        set_training(self.network, self.options)
        for number, plan in enumerate(self.plans.epoch(epoch, first), first):
            drawing = np.random.SeedSequence((self.options.seed, epoch, number, self.world.rank))
            self.random = np.random.default_rng(drawing)
            torch.manual_seed(drawing.generate_state(1, np.uint64).item())
            yield plan

    def step(self, plan: BatchPlan, epoch: float) -> Tensor:
        """Take one step of the optimiser on a batch, `epoch` epochs, whole and parts, after the beginning.

        Returns:
            The sum of the losses of this process's utterances, on the device.
        """
        examples, plan = len(plan), plan.share(self.world.rank, self.world.world_size)
        speech, options, batches = self._batch(plan), self.options, self.plans.batches_per_epoch
        size, scale = len(plan), self.world.world_size / examples
        set_rate_factor(self.optimiser, options.rate_factor(epoch, self.epochs, batches))
        spoken = speech if self.critic is None else self._with_other_styles(speech)
        said = self.parallel(*spoken, options.own_frames_at(epoch * batches))
        of_true, guided = said.part(slice(size)), options.guided_attention
        losses = synthesis_losses(of_true, speech.mels, speech.unit_lengths, guided).sum()
        if self.critic is None:
            self._update(self.network, self.optimiser, scale * losses)
            return losses.detach()
        pieces, lengths = self._pieces(spoken.mels[:size], said, size)
        deceived = (self.parallel_critic(pieces, lengths)[size:] - 1).square().sum()
        self._update(self.network, self.optimiser, scale * (losses + options.adversarial * deceived))
        scores = self.parallel_critic(pieces.detach(), lengths)
        wrong = (scores[:size] - 1).square().sum() + scores[size:].square().sum()
        self._update(self.critic, self.critic_optimiser, scale * wrong)
        return losses.detach()

    def _update(self, network: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.options.clip:
            nn.utils.clip_grad_norm_(network.parameters(), self.options.clip)
        optimiser.step()

    def _batch(self, plan: BatchPlan) -> Speech:
        """Return the utterances of a plan; against a critic, with another style for each after their own ones."""
        indices = plan.utterances[:, 0]
        heard = indices if self.critic is None else np.concatenate([indices, [self._other(each) for each in indices]])
        return self.train.whole(indices, self.train.pieces(heard, self.network.style_encoder.piece, self.random))

    def _with_other_styles(self, speech: Speech) -> Speech:
        """Return the batch, and after it the same utterances in another's style, with what the network says of them.

        The second half's frames are the network's own, so that saying them after each other is saying them freely;
        with the option `fakes` "teacher-forced" they are the true ones.
        """
        size = len(speech.units)
        mels, lengths = speech.mels, speech.mel_lengths
        if self.options.fakes == "free-running":
            limits = (speech.mel_lengths * _LONGEST_FAKE).long()
            seeds = self.random.integers(2**31, size=size).tolist()
            self.network.eval()
            mels, lengths, *_ = self.network.generate(
                speech.units, speech.unit_lengths, speech.styles[size:], limits, seeds
            )
            set_training(self.network, self.options)
        longest = max(mels.shape[1], speech.mels.shape[1])
        padded = [nn.functional.pad(each, (0, 0, 0, longest - each.shape[1])) for each in (speech.mels, mels)]
        return Speech(
            speech.units.repeat(2, 1), speech.unit_lengths.repeat(2), torch.cat(padded),
            torch.cat([speech.mel_lengths, lengths]), speech.styles,
        )

    def _other(self, utterance: int) -> int:
        """Draw another utterance whose style this one may take; itself where there is none."""
        others = self.groups[utterance]
        others = others[others != utterance]
        return int(self.random.choice(others)) if len(others) else int(utterance)

    def _pieces(self, mels: Tensor, said: Synthesis, size: int) -> tuple[Tensor, Tensor]:
        """Return a piece of each true spectrogram and of each fake one, (2·B, frames, bands), and their lengths."""
        spectrograms = torch.cat([mels, said.mels[size:]])
        begins = (torch.rand(2 * size) * (said.lengths - _PIECE + 1).clamp_min(1)).long().tolist()
        pieces = [each[begin : min(begin + _PIECE, length)]
                  for each, begin, length in zip(spectrograms, begins, said.lengths.tolist(), strict=True)]
        return pad_sequence(pieces, batch_first=True), torch.tensor([len(each) for each in pieces])

    @torch.no_grad()
    def evaluate(self, epoch: int) -> dict[str, float]:
        """Return means over the dev set of `figures_of`: `loss`, `mel_error` and `focus`.

        There is no dropout but the prenet's, which is drawn alike in every epoch.
        """
        self.network.eval()
        figures = np.zeros((len(self.dev.lengths), 3))
        torch.manual_seed(self.options.seed)
        for number, indices in enumerate(in_length_order(self.dev.lengths, self.dev.BATCH_ROWS[self.device.type])):
            if number % self.world.world_size != self.world.rank:
                continue
            speech = self.dev.whole(indices, styles_of(self.network, self.dev, indices))
            figures[indices] = figures_of(self.network(*speech), speech).cpu().numpy()
        means = self.world.sum(figures).mean(0)
        return dict(zip(("loss", "mel_error", "focus"), map(float, means), strict=True))

    # ---- checkpoints

    def state(self) -> dict[str, Any]:
        """Return what converting and transfer need of the network as it is now."""
        return {
            "model": self.network.state_dict(), "classes": list(self.classes), "dim": list(self.train.dim),
            "front_end": self.front_end, "options": self.options.changed(), "built_from": self.network.built_from,
        }

    def training_state(self) -> dict[str, Any]:
        """Return what going on needs besides `state`."""
        state = {"optimiser": self.optimiser.state_dict()}
        if self.critic is not None:
            state |= {"critic": self.critic.state_dict(), "critic_optimiser": self.critic_optimiser.state_dict()}
        return state

    def resume(self, last: dict[str, Any]) -> None:
        """Take up what `state` and `training_state` returned."""
        load_weights(self.network, last["model"], f"{self.run.out}/last.pt")
        self.optimiser.load_state_dict(last["optimiser"])
        if self.critic is not None:
            self.critic.load_state_dict(last["critic"])
            self.critic_optimiser.load_state_dict(last["critic_optimiser"])


def styles_of(network: Synthesiser, store: SpeechStore, indices: np.ndarray) -> Tensor:
    """Return the styles of whole utterances, (B, style), each computed by itself."""
    return torch.stack([network.style_of(store.styles[index]) for index in indices])


def figures_of(said: Synthesis, speech: Speech) -> Tensor:
    """Return of each utterance three figures of how it was said, (B, 3).

    They are the loss; the mean squared error of the spectrogram after the post-net; and focus, the mean over frames of
    the largest weight of the attention, which is 1 where it knows where it is.
    """
    frames, mask = speech.mel_lengths.to(speech.mels), within(speech.mel_lengths, speech.mels.device)
    error = ((said.mels - speech.mels).square().mean(2) * mask).sum(1) / frames
    losses = synthesis_losses(said, speech.mels, speech.unit_lengths)
    return torch.stack([losses, error, said.attention.amax(2).sum(1) / frames], 1)


def _groups(data: Sequence[str], utterances: Sequence[str]) -> list[np.ndarray]:
    """Return of each utterance the indices, (n,), of its speaker's utterances, with its emotion where that is known."""
    tables = [{key: value for folder in data if (Path(folder) / name).is_file()
               for key, value in read_table(Path(folder) / name).items()} for name in (SPEAKER_TABLE, EMOTION_TABLE)]
    keys = [tuple(table.get(utterance) for table in tables) for utterance in utterances]
    members: dict[tuple[str | None, ...], list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    arrays = {key: np.array(indices) for key, indices in members.items()}
    return [arrays[key] for key in keys]
