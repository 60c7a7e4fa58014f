"""Spectrogram images of speech, as librosa and matplotlib draw them: a power spectrum in decibels on a colour map.

Images are kept as numbers 0 to 255 of the map's colours, one byte a point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_FLOOR = 1e-10  # least power that has a logarithm (librosa's amin)


@dataclass(frozen=True)
class SpectrogramOptions:
    """What an image shows; conf/spectrogram.conf explains each. The defaults are the paper's, and librosa's.

    Raises:
        ValueError: a value is out of range.
    """

    sample_frequency: float = 16000.0
    block_length: float = 1.0
    frame_length: float = 16.0
    n_fft: int = 512
    hop: int = 62
    pad_mode: str = "reflect"
    scale: str = "db"
    top_db: float = 80.0
    range: str = "image"
    origin: str = "lower"
    resize: str = "bilinear"

    def __post_init__(self) -> None:
        rules = {
            "--sample-frequency must be a whole number of Hz": self.sample_frequency == self.rate > 0,
            "--frame-length must be at least 2 samples and at most --n-fft": 2 <= self.window <= self.n_fft,
            "--hop must be a number of samples from 1": self.hop >= 1,
            "--block-length must be longer than half of --n-fft": math.isfinite(self.block_length)
            and self.samples > self.n_fft // 2,
            "--pad-mode is reflect or constant": self.pad_mode in ("reflect", "constant"),
            "--scale is db or linear": self.scale in ("db", "linear"),
            "--top-db must be over 0": self.top_db > 0,
            "--range is image, or LOW,HIGH in dB from the image's greatest, such as -80,0": self._limits is not None,
            "--range LOW,HIGH is in dB and goes with --scale=db": self.range == "image" or self.scale == "db",
            "--origin is lower or upper": self.origin in ("lower", "upper"),
            "--resize is bilinear or crop": self.resize in ("bilinear", "crop"),
        }
        for rule, kept in rules.items():
            if not kept:
                raise ValueError(rule)

    @property
    def rate(self) -> int:
        """Sampling rate in Hz."""
        return int(self.sample_frequency)

    @property
    def samples(self) -> int:
        """Samples of a block."""
        return round(self.block_length * self.sample_frequency)

    @property
    def window(self) -> int:
        """Samples of the window."""
        return round(self.frame_length * 0.001 * self.sample_frequency)

    @cached_property
    def _limits(self) -> tuple[float, float] | None:
        """Lowest and highest value in dB that the colours span; (-inf, inf) for each image's own; None for nonsense."""
        if self.range == "image":
            return -math.inf, math.inf
        try:
            low, high = map(float, self.range.split(","))
        except ValueError:
            return None
        return (low, high) if -math.inf < low < high <= 0 else None


class Spectrogram:
    """Makes images of blocks.

    Args:
        options: what they show.
    """

    def __init__(self, options: SpectrogramOptions) -> None:
        import torch  # takes a second, which a step that finds its images up to date need not wait for

        self.options = options
        self._window = torch.hamming_window(options.window)  # periodic, as scipy's and librosa's

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Return the image of a block.

        The block is divided by its largest magnitude; one that is too short ends in silence. Power is |STFT|² of
        centred windows; in dB, the greatest is 0 and what lies `top_db` below it is cut off. Colours span the least to
        the greatest value. Digital silence, where all are equal, is the lowest colour throughout.

        Args:
            samples: (up to `options.samples`,) at any scale.

        Returns:
            (frames, rows) uint8: one column of the image after the other, each from its top down.
        """
        import torch

        options = self.options
        block = np.zeros(options.samples, np.float32)
        block[: len(samples)] = samples
        if largest := np.abs(block).max():
            block /= largest
        spectrum = torch.stft(
            torch.from_numpy(block), options.n_fft, options.hop, options.window, self._window, center=True,
            pad_mode=options.pad_mode, return_complex=True,
        ).T  # as it lies in memory: a frame after the other
        power = spectrum.real.square().add_(spectrum.imag.square())
        if options.scale == "db":
            power.clamp_min_(_FLOOR).log10_().mul_(10)
        least, greatest = map(float, power.aminmax())
        if options.scale == "db":
            least = max(least, greatest - options.top_db)
            low, high = options._limits
            if low > -math.inf:
                power.clamp_min_(least)
                least, greatest = greatest + low, greatest + high
        indices = torch.zeros(power.shape, dtype=torch.uint8)
        if greatest > least:
            indices = power.sub_(least).mul_(256 / (greatest - least)).clamp_(0, 255).to(torch.uint8)
        if options.resize == "crop":
            indices = indices[:256, :256]
        if options.origin == "lower":
            indices = indices.flip(1)
        return indices.contiguous().numpy()
