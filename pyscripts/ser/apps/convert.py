"""Converting utterances: their units said by EmoAug's network in the style of others, made audible by a vocoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ser.apps.converted import Outcome
from ser.augment.style_copies import StyleCopy
from ser.base.files import atomic_path
from ser.base.pcm import INT16_SCALE

ATTEMPTS = 3  # styles that are tried before a copy is given up
LONGEST, SHORTEST = 2.0, 0.5  # frames of a copy, in those of its source
_LEAST_SECONDS = 0.1
_SILENCE_DB = -70.0  # root mean square of a waveform from -1 to 1, below which nothing is heard; corpora have -60
_FOCUS, _MONOTONE, _COVERED, _END = 0.2, 0.9, 0.8, 0.9  # least shares, see `attention_fault`


@dataclass
class Converter:
    """A network and a vocoder, and what they work on.

    Attributes:
        network: a trained `ser.nets.synthesis.Synthesiser`, in evaluation mode.
        vocoder: of `ser.nets.vocoder`.
        units: of each utterance, (m,) int64.
        style: of an utterance, (style,) on `device`.
        frames: of each utterance's own spectrogram.
        silence: what an utterance has before and after its speech, (n,) and (m,) int16 at `rate`. Its copies have it
            too, since recognisers tell emotions by the share of silence, among other things.
        rate: Hz of the waveforms.
        seed: of all random numbers.
        reject: whether copies with a fault are tried again, and given up after `ATTEMPTS`.
        device: where the networks are.
    """

    network: nn.Module
    vocoder: nn.Module
    units: Mapping[str, np.ndarray]
    style: Callable[[str], Tensor]
    frames: Mapping[str, int]
    silence: Mapping[str, tuple[np.ndarray, np.ndarray]]
    rate: int
    seed: int
    reject: bool
    device: torch.device

    def convert(self, copies: Sequence[StyleCopy], folder: Path) -> tuple[list[Outcome], dict[str, float]]:
        """Make copies side by side, and write <folder>/<name>.wav of each that is good, 16 bits at `rate`.

        Returns:
            What became of each, and the seconds that the network and the vocoder took.
        """
        outcomes = {copy.name: Outcome(copy.name, copy.utterance) for copy in copies}
        spent = {"network": 0.0, "vocoder": 0.0}
        left = list(copies)
        for attempt in range(ATTEMPTS):
            rejected = []
            for copy, ref, mel, fault in self._say(left, attempt, spent):
                outcome = outcomes[copy.name]
                samples = None
                if not (fault and self.reject):
                    samples = self._sound(mel, spent)
                    fault = fault or sound_fault(samples)
                if fault:
                    outcome.faults.append((ref, fault))
                if samples is None or (fault and self.reject) or not is_usable(samples, self.rate):
                    rejected.append(copy)
                    continue
                around = self.silence[copy.utterance]
                outcome.silence = sum(map(len, around)) / self.rate
                before, after = (each / INT16_SCALE for each in around)
                samples = np.concatenate([before, samples, after])
                with atomic_path(folder / f"{copy.name}.wav") as temporary:
                    soundfile.write(temporary, samples, self.rate, subtype="PCM_16", format="WAV")
                outcome.ref, outcome.seconds = ref, len(samples) / self.rate
            if not (left := rejected):
                break
        return list(outcomes.values()), spent

    def _say(
        self, copies: list[StyleCopy], attempt: int, spent: dict[str, float]
    ) -> list[tuple[StyleCopy, str, Tensor, str | None]]:
        """Return of each copy itself, the utterance whose style it has, its mel (frames, bands), and what is wrong."""
        begun = time.perf_counter()
        refs = [copy.styles[attempt % len(copy.styles)] for copy in copies]
        units = [torch.from_numpy(self.units[copy.utterance]) for copy in copies]
        lengths = torch.tensor([len(each) for each in units])
        own = torch.tensor([self.frames[copy.utterance] for copy in copies])
        limits = (own * LONGEST).long().clamp_min(1)
        styles = torch.stack([self.style(ref) for ref in refs])
        seeds = [copy.seed(attempt, self.seed) for copy in copies]
        said = self.network.generate(
            pad_sequence(units, batch_first=True).to(self.device), lengths, styles, limits, seeds
        )
        attention = said.attention.cpu().numpy()
        made = []
        for index, (copy, ref) in enumerate(zip(copies, refs, strict=True)):
            frames = int(said.lengths[index])
            fault = None
            if not said.stopped[index]:
                fault = f"does not stop within {LONGEST:g} times its source"
            elif frames < SHORTEST * own[index]:
                fault = f"is shorter than {SHORTEST:g} times its source"
            fault = fault or attention_fault(attention[index, :frames, : lengths[index]])
            made.append((copy, ref, said.mels[index, :frames], fault))
        spent["network"] += time.perf_counter() - begun
        return made

    def _sound(self, mel: Tensor, spent: dict[str, float]) -> np.ndarray:
        begun = time.perf_counter()
        with torch.inference_mode():
            samples = self.vocoder(mel).cpu().numpy()
        spent["vocoder"] += time.perf_counter() - begun
        return samples


def attention_fault(attention: np.ndarray) -> str | None:
    """Return what is wrong with an attention (frames, units): None if it reads all units from the first to the last.

    It should be focused (its largest weight is 0.2 on average), go forward (its peak goes back in a tenth of the frames
    at most), pass by (within a unit) four fifths of the units, and end in the last tenth of them.
    """
    units, peaks = attention.shape[1], attention.argmax(1)
    if attention.max(1).mean() < _FOCUS:
        return "attention is not focused"
    if len(peaks) > 1 and (np.diff(peaks) >= 0).mean() < _MONOTONE:
        return "attention goes back"
    near = np.unique(np.clip(peaks[:, None] + np.arange(-1, 2), 0, units - 1))
    if len(near) < _COVERED * units:
        return "attention skips units"
    if peaks[-1] + 1 < min(_END * units, units - 1):
        return "attention ends before the last unit"
    return None


def is_usable(samples: np.ndarray, rate: int) -> bool:
    """Return whether a waveform has features at all, with or without a fault."""
    return len(samples) >= _LEAST_SECONDS * rate and bool(np.isfinite(samples).all())


def sound_fault(samples: np.ndarray) -> str | None:
    """Return what is wrong with a waveform from -1 to 1, without a look at its length; None if nothing is."""
    if not len(samples) or not np.isfinite(samples).all():
        return "has numbers that are none"
    level = 20 * np.log10(np.sqrt(np.square(samples, dtype=np.float64).mean()) + 1e-12)
    return f"is silent, under {_SILENCE_DB:g} dB" if level < _SILENCE_DB else None
