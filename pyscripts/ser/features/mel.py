"""Log-mel spectrograms that a vocoder makes waveforms of, and where an utterance's speech begins and ends."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ser.base.pcm import INT16_SCALE
from ser.nets.vocoder_folder import MelOptions

if TYPE_CHECKING:
    from torchaudio.transforms import MelSpectrogram

CONF = "conf/mel.conf"
_FLOOR = 1e-5  # below which a magnitude is taken for this one
_WINDOW, _MARGIN, _RANGE_DB = 0.02, 0.05, 35.0


class LogMel:
    """The natural logarithm of mel bands' magnitudes, as SpeechBrain's HiFi-GAN is trained on; torchaudio's filters."""

    def __init__(self, options: MelOptions) -> None:
        self.options = options

    @cached_property
    def _transform(self) -> MelSpectrogram:
        from torchaudio.transforms import MelSpectrogram

        of = self.options
        return MelSpectrogram(of.sample_rate, of.n_fft, of.win_length, of.hop_length, of.low_freq, of.high_freq,
                              n_mels=of.num_mel_bins, power=1.0, norm="slaney", mel_scale="slaney")  # fmt: skip

    def num_frames(self, samples: int) -> int:
        """Return how many frames so many samples give; 0 where reflection at the ends has too few."""
        return 1 + samples // self.options.hop_length if samples > self.options.n_fft // 2 else 0

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Turn a waveform (n,) float32 at int16 scale into (1 + n // hop, bands) float32."""
        import torch

        bands = self._transform(torch.from_numpy(np.ascontiguousarray(samples)) / INT16_SCALE)
        return bands.clamp(min=_FLOOR).log().T.contiguous().numpy()


def speech_range(samples: np.ndarray, rate: int) -> slice:
    """Return where a waveform (n,) has speech: all but the silence before and after it, less a margin of 50 ms.

    Silence is a window of 20 ms whose energy is 35 dB below the loudest one's, or more.
    """
    size = round(_WINDOW * rate)
    windows = samples[: len(samples) // size * size].reshape(-1, size)
    energies = np.square(windows, dtype=np.float64).sum(1)
    if not energies.any():
        return slice(0, len(samples))
    loud = np.flatnonzero(energies > energies.max() * 10 ** (-_RANGE_DB / 10))
    margin = round(_MARGIN * rate)
    return slice(max(0, loud[0] * size - margin), min(len(samples), (loud[-1] + 1) * size + margin))


def silence_around(samples: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what a waveform (n,) has before and after its speech, which `speech_range` leaves out."""
    speech = speech_range(samples, rate)
    return samples[: speech.start], samples[speech.stop :]
