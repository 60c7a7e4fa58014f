"""Speech at another speed or pitch, or of another vocal tract: the table `utt2perturb`, and what it does to waveforms.

A speed of 0.9 plays the recording at 0.9 times its rate, as sox's `speed` does: slower and lower. Pitch is moved by
semitones, and VTLP (vocal tract length perturbation, Jaitly and Hinton, ICML workshop 2013) warps the frequency axis by
a factor; both keep the length to the sample and the power.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table
from ser.data.audio import resample

RANGES = {"speed": (0.25, 4.0), "pitch": (-24.0, 24.0), "vtlp": (0.5, 2.0)}  # factors, semitones, factors
_WINDOW_SECONDS = 0.064
_OVERLAP = 4  # windows over each sample
_KNEE = 0.6  # of the Nyquist frequency: 4.8 kHz at 16 kHz, Jaitly and Hinton's

Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Perturbation:
    """What is done to one utterance: speed, pitch or vtlp, and the factor, or for pitch the semitones."""

    kind: str
    amount: float

    def __str__(self) -> str:
        return f"{self.kind} {self.amount:g}"

    @classmethod
    def parse(cls, text: str, where: object) -> Perturbation:
        """Read `<kind> <amount>`. Raises SerError, whose message begins with `where`, for anything else."""
        kind, _, amount = text.partition(" ")
        if kind not in RANGES:
            raise SerError(f"{where}: expected 'speed', 'pitch' or 'vtlp' and a number, found {text!r}")
        return cls(kind, parse_amount(kind, amount, where))

    def seconds(self, seconds: float) -> float:
        """Return how long an utterance of so many seconds is afterwards."""
        return seconds / self.amount if self.kind == "speed" else seconds

    def apply(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """Return (samples,) float32, of another length with `speed` alone, of (samples,) float32 at `rate` Hz."""
        if self.kind == "speed":
            return resample(samples, round(rate * self.amount), rate)
        if self.kind == "pitch":
            ratio = 2 ** (self.amount / 12)
            return _warped(samples, rate, partial(np.multiply, ratio), partial(np.multiply, 1 / ratio))
        return _warped(samples, rate, partial(_vtlp, self.amount), partial(_vtlp_inverse, self.amount))


def parse_amount(kind: str, text: str, where: object) -> float:
    """Read a factor, or semitones. Raises SerError, whose message begins with `where`, for one that is out of range."""
    low, high = RANGES[kind]
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not low <= amount <= high:
        raise SerError(f"{where}: {kind} takes a number from {low:g} to {high:g}, not {text!r}")
    return amount


def read_utt2perturb(path: str | os.PathLike[str]) -> dict[str, Perturbation]:
    """Read `<utterance> <kind> <amount>` lines. Raises SerError as `read_table`, or for an amount out of range."""
    return {key: Perturbation.parse(value, f"{path}: {key}") for key, value in read_table(path).items()}


def draw_amount(choices: Sequence[tuple[float, float]], kind: str, utterance: str, seed: int) -> float:
    """Draw one of several ranges and a number in it, uniformly, as a pure function of the arguments.

    The number is rounded to three decimals, as the table has it.
    """
    digest = hashlib.sha256(repr((seed, kind, utterance)).encode()).digest()
    which, where = (int.from_bytes(digest[begin : begin + 8]) / 2**64 for begin in (0, 8))
    low, high = choices[int(which * len(choices))]
    return round(low + where * (high - low), 3)


def _warped(samples: np.ndarray, rate: int, curve: Curve, inverse: Curve) -> np.ndarray:
    """Move every frequency of a waveform by a phase vocoder, and scale the result to the power of the waveform.

    A bin of the result takes its magnitude from where the curve comes from, and turns by the moved frequency that the
    phases of two windows tell (Flanagan and Golden 1966; Laroche and Dolson 1999).

    Args:
        samples: (samples,) float32.
        curve, inverse: where frequencies go and come from, as shares of the Nyquist frequency, (n,) float64 each.
    """
    import torch

    power = float(np.square(samples, dtype=np.float64).sum())
    size = 2 ** math.ceil(math.log2(_WINDOW_SECONDS * rate))
    hop, bins = size // _OVERLAP, size // 2
    if power == 0 or len(samples) <= bins:  # silence, or less than the padding by reflection takes
        return samples
    window = torch.hann_window(size)
    numbers = np.arange(bins + 1)
    # Phases of a window's middle, not of its beginning: they do not alternate from bin to bin.
    middle = torch.from_numpy((-1.0) ** numbers)[:, None]
    spectrum = torch.stft(torch.from_numpy(samples), size, hop, window=window, return_complex=True) * middle
    source = inverse(numbers / bins) * bins
    nearest = np.minimum(np.rint(source), bins).astype(int)
    below = np.minimum(source.astype(int), bins - 1)
    above = np.clip(source - below, 0, 1)[:, None]
    magnitudes = spectrum.abs().numpy()
    magnitudes = (1 - above) * magnitudes[below] + above * magnitudes[below + 1]
    magnitudes[source > bins] = 0
    phases = spectrum.angle().numpy().astype(np.float64)
    expected = 2 * np.pi * hop / size * numbers[:, None]
    turned = np.diff(phases, axis=1) - expected
    turned -= 2 * np.pi * np.rint(turned / (2 * np.pi))
    moved = curve(np.clip(numbers[:, None] + turned * size / (2 * np.pi * hop), 0, bins) / bins) * bins
    steps = np.concatenate([phases[:, :1], 2 * np.pi * hop / size * moved], 1)
    phases = np.cumsum(steps, 1)[nearest]
    result = torch.polar(torch.from_numpy(magnitudes), torch.from_numpy(phases)) * middle
    result = torch.istft(result.to(torch.complex64), size, hop, window=window, length=len(samples)).numpy()
    energy = float(np.square(result, dtype=np.float64).sum())
    return (result * math.sqrt(power / energy) if energy > 0 else result).astype(np.float32)


def _vtlp(factor: float, frequency: np.ndarray) -> np.ndarray:
    """Return f·factor up to the knee F·min(factor, 1) / factor, and on a line to the Nyquist frequency from there.

    Jaitly and Hinton's equation, in shares of the Nyquist frequency.
    """
    knee = _KNEE * min(factor, 1)
    return np.interp(frequency, [0, knee / factor, 1], [0, knee, 1])


def _vtlp_inverse(factor: float, frequency: np.ndarray) -> np.ndarray:
    knee = _KNEE * min(factor, 1)
    return np.interp(frequency, [0, knee, 1], [0, knee / factor, 1])
