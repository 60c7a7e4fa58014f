"""Waveforms as what a network reads: samples of 16 bits at 16 kHz, one a row, for encoders that are fine-tuned."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from ser.data.audio import AudioError, DecodedAudio, resample
from ser.nets.encoder_folder import RATE, SHORTEST

FRONT_END = f"--waveforms={RATE}\n"  # conf/waveforms.conf


def as_int16(samples: np.ndarray) -> np.ndarray:
    """Return samples at int16 scale, (n,), as rows of whole numbers, (n, 1) int16; what is louder is cut off."""
    return np.rint(samples).clip(-32768, 32767).astype(np.int16)[:, None]


def unfit(samples: np.ndarray, longest: float) -> str | None:
    """Return why an encoder that takes `longest` seconds cannot read a waveform (n,), and what to do, else None."""
    if len(samples) < SHORTEST:
        return f"{len(samples) / RATE:.3f} s long, too short; leave it out"
    if len(samples) > longest * RATE:
        return f"{len(samples) / RATE:.1f} s long, over the {longest:g} s of the encoder; cut it up"
    return None


@dataclass(frozen=True)
class Waveforms:
    """A front end: what steps/make_waveforms.sh does, on recordings in memory.

    Attributes:
        longest: seconds of a recording, at most.
    """

    longest: float

    rate = RATE
    channel = -1
    frame_shift = 1 / RATE
    by_speaker = False

    @staticmethod
    def makes(front_end: str) -> bool:
        """Return whether a checkpoint's front end is of this kind."""
        return front_end == FRONT_END.strip()

    def waveform(self, audio: DecodedAudio, name: str) -> np.ndarray:
        """Return a recording at `rate`. Raises AudioError, which begins with `name`, where it is unfit."""
        samples = resample(audio.samples, audio.rate, RATE)
        if reason := unfit(samples, self.longest):
            raise AudioError(f"{name}: {reason}")
        return samples

    def features(self, waveforms: Iterable[tuple[Hashable, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return for each (speaker, waveform) the rows that a network reads, (n, 1) int16, and their numbers (n,)."""
        return [(as_int16(samples), np.arange(len(samples))) for _, samples in waveforms]
