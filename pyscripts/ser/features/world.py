"""What the vocoder WORLD makes of speech (Morise, Yokomori and Ozawa, IEICE Transactions E99-D, 2016), and back.

A row is a frame of 5 ms. F0 is found by Harvest, the spectral envelope by CheapTrick and the aperiodicity by D4C; WORLD
codes the envelope as mel-cepstral coefficients, of which CycleGAN's paper has 24 and StarGAN's 36: here both have 36.
The logarithm of F0, joined over what is not voiced, stands there as ten wavelet components and what they leave.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ser.base.errors import SerError
from ser.base.pcm import INT16_SCALE
from ser.nets.world_columns import APERIODICITY, CEPSTRUM, COEFFICIENTS, CONTOUR, LEVEL, SCALES, VOICED

RATE, SHIFT = 16000, 0.005  # Hz; seconds from frame to frame
CONF = "conf/world.conf"
DESCRIPTION = f"--sample-rate={RATE}\n--frame-shift={SHIFT:g}\n--mel-cepstrum={COEFFICIENTS}\n--f0-scales={SCALES}\n"
_LOWEST, _HIGHEST = 71.0, 800.0  # F0 in Hz; the lowest one also decides how long CheapTrick's windows are


def world() -> Any:
    """Return the module pyworld. Raises SerError where it is not installed."""
    try:
        import pyworld
    except ImportError:
        raise SerError("WORLD's features need pyworld, which is not installed; set SER_SYNTHESIS=1 in the environment, "
                       "or install requirements-synthesis.txt") from None
    return pyworld


def analyse(samples: np.ndarray) -> np.ndarray | None:
    """Turn a waveform (n,) at int16 scale and `RATE` into rows (1 + n // 80, COLUMNS) float32; None if none is voiced.

    Raises:
        SerError: pyworld is not installed.
    """
    pyworld, waveform = world(), np.ascontiguousarray(samples, np.float64) / INT16_SCALE
    f0, times = pyworld.harvest(waveform, RATE, _LOWEST, _HIGHEST, 1000 * SHIFT)
    voiced = f0 > 0
    if not voiced.any():
        return None
    envelope = pyworld.cheaptrick(waveform, f0, times, RATE, f0_floor=_LOWEST)
    aperiodicity = pyworld.d4c(waveform, f0, times, RATE, fft_size=2 * (envelope.shape[1] - 1))
    frames = np.arange(len(f0))
    joined = np.interp(frames, frames[voiced], np.log(f0[voiced]))
    contour = wavelet_components(joined)
    return np.column_stack([
        pyworld.code_spectral_envelope(envelope, RATE, COEFFICIENTS), contour, joined - contour.sum(1), voiced,
        pyworld.code_aperiodicity(aperiodicity, RATE),
    ]).astype(np.float32)


def synthesise(rows: np.ndarray) -> np.ndarray:
    """Turn rows (T, COLUMNS) into a waveform (80·T,) float32 from -1 to 1 or a little beyond.

    F0 beyond what Harvest finds, 71 to 800 Hz, is that of the nearest limit.

    Raises:
        SerError: pyworld is not installed.
    """
    pyworld, rows = world(), np.ascontiguousarray(rows, np.float64)
    f0 = np.exp(np.clip(rows[:, CONTOUR].sum(1) + rows[:, LEVEL], np.log(_LOWEST), np.log(_HIGHEST)))
    size = pyworld.get_cheaptrick_fft_size(RATE, _LOWEST)
    envelope, aperiodicity = (np.ascontiguousarray(rows[:, part]) for part in (CEPSTRUM, APERIODICITY))
    return pyworld.synthesize(
        f0 * (rows[:, VOICED] > 0.5), pyworld.decode_spectral_envelope(envelope, RATE, size),
        pyworld.decode_aperiodicity(aperiodicity, RATE, size), RATE, 1000 * SHIFT,
    ).astype(np.float32)


def wavelet_components(values: np.ndarray) -> np.ndarray:
    """Return the continuous wavelet transform of values (T,), one a frame, at ten scales an octave apart: (T, 10).

    The wavelet is the Mexican hat, whose transform is (sω)² exp(-(sω)²/2) (Torrence and Compo, BAMS 1998, table 1), and
    the scales are 4, 8, … 2048 frames (Suni et al., SSW 2013, and Zhou et al., Odyssey 2020). Times ln 2, their sum
    is the values themselves, but for the mean, 1 % of what changes once a second, and 9 % of what does five times. Both
    ends are mirrored.
    """
    scales = 2.0 ** np.arange(2, SCALES + 2)
    mirrored = np.concatenate([values, values[::-1]])
    angles = (2 * np.pi * np.fft.rfftfreq(len(mirrored)) * scales[:, None]) ** 2
    spectrum = np.fft.rfft(mirrored) * np.log(2) * angles * np.exp(-angles / 2)
    return np.fft.irfft(spectrum, len(mirrored))[:, : len(values)].T
