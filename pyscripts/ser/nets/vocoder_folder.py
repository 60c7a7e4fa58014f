"""A vocoder's folder: which mel spectrograms it makes waveforms of, without its weights."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ser.base.errors import SerError
from ser.nets.speechbrain_folder import HYPERPARAMS, read_hyperparams

GENERATOR = "generator.ckpt"
_FIXED = {"power": 1, "norm": "slaney", "mel_scale": "slaney", "dynamic_range_compression": True}
_SIZES = {  # of the generator, as published for 16 kHz: HiFi-GAN's V1
    "in_channels": 80, "out_channels": 1, "resblock_type": "1", "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    "resblock_kernel_sizes": [3, 7, 11], "upsample_kernel_sizes": [16, 16, 4, 4], "upsample_initial_channel": 512,
    "upsample_factors": [8, 8, 2, 2], "inference_padding": 5, "cond_channels": 0, "conv_post_bias": True,
}  # fmt: skip


@dataclass(frozen=True)
class MelOptions:
    """What a log-mel spectrogram shows; the defaults are those of SpeechBrain's HiFi-GAN for 16 kHz.

    Attributes:
        sample_rate: in Hz.
        n_fft, win_length, hop_length: in samples.
        num_mel_bins: bands, on Slaney's scale and of his norm.
        low_freq, high_freq: in Hz.
    """

    sample_rate: int = 16000
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 256
    num_mel_bins: int = 80
    low_freq: float = 0.0
    high_freq: float = 8000.0

    def describe(self) -> str:
        """Return the options, a line each, as conf/mel.conf has them."""
        return "".join(f"--{field.name.replace('_', '-')}={getattr(self, field.name):g}\n" for field in fields(self))


@dataclass(frozen=True)
class VocoderFolder:
    """What a folder says: where it is, its mel spectrograms, and the arguments of SpeechBrain's generator."""

    path: Path
    mel: MelOptions
    sizes: dict[str, Any]


def read_vocoder_folder(path: str | os.PathLike[str]) -> VocoderFolder:
    """Read what the folder of a HiFi-GAN in SpeechBrain's format says of itself.

    Raises:
        SerError: it is no such folder, or its mel spectrograms are of a kind that is not made here.
    """
    folder = Path(os.path.abspath(path))
    if not folder.is_dir():
        raise SerError(f"{folder}: no such folder of a vocoder")
    stated = read_hyperparams(folder)
    for name, value in _FIXED.items():
        if stated.get(name, value) != value:
            raise SerError(f"{folder / HYPERPARAMS}: {name} is {stated[name]!r}; vocoders are those of {value!r}")
    names = {"num_mel_bins": "n_mel_channels", "low_freq": "mel_fmin", "high_freq": "mel_fmax"}
    values = {}
    for field in fields(MelOptions):
        value = stated.get(names.get(field.name, field.name), field.default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise SerError(f"{folder / HYPERPARAMS}: {names.get(field.name, field.name)} is {value!r}, no number; copy "
                           "the file again")
        values[field.name] = type(field.default)(value)
    generator = stated.get("generator")
    stated |= generator if isinstance(generator, dict) else {}
    found = VocoderFolder(folder, MelOptions(**values), {name: stated.get(name, _SIZES[name]) for name in _SIZES})
    if math.prod(found.sizes["upsample_factors"]) != found.mel.hop_length:
        raise SerError(f"{folder / HYPERPARAMS}: upsample_factors are {found.sizes['upsample_factors']}, whose product "
                       f"is not hop_length, {found.mel.hop_length}; copy the file again")
    return found
