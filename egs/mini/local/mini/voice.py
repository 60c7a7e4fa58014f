"""A formant synthesiser: a glottal pulse train and noise, filtered by a vocal tract that moves.

The structure is Klatt's (1980, "Software for a cascade/parallel formant synthesizer", JASA 67): a cascade of digital
resonators for voice and aspiration, a separate branch for frication. The glottal pulse is KLGLOTT88's (Klatt & Klatt
1990, JASA 87). Instead of a recursive filter whose coefficients change, every 10 ms frame of the source is filtered in
the frequency domain by the tract of its moment, and the frames are added up, so all frames are done in one go.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 16000
HOP = 80  # samples from one frame of the tracks to the next: 5 ms
FRAMES_PER_SECOND = SAMPLE_RATE // HOP

_FFT = 512  # a 160-sample frame and 22 ms for the resonances to die away
_FRICTION_BANDWIDTH = 1200.0  # Hz


@dataclass
class Tracks:
    """Parameters of the voice, one value per 5 ms frame; T is the number of frames."""

    f0: np.ndarray  # (T,) fundamental frequency, Hz
    formants: np.ndarray  # (T, F) resonance frequencies, Hz
    voicing: np.ndarray  # (T,) amplitude of the glottal pulses, linear
    aspiration: np.ndarray  # (T,) amplitude of the noise made at the glottis, linear
    frication: np.ndarray  # (T,) amplitude of the noise made in the mouth, linear
    friction_centre: np.ndarray  # (T,) Hz, where that noise is strongest
    open_quotient: np.ndarray  # (T,) share of a cycle in which the glottis is open, 0.3 (pressed) to 0.9 (lax)
    tilt_cutoff: np.ndarray  # (T,) Hz, above which the glottal source loses another 12 dB an octave
    jitter: np.ndarray  # (T,) standard deviation of a cycle's length, relative
    shimmer: np.ndarray  # (T,) standard deviation of a cycle's amplitude, relative


def synthesise(tracks: Tracks, rng: np.random.Generator) -> np.ndarray:
    """Return the sound of `tracks`: (T * 80,) float64 at 16 kHz, at an arbitrary level."""
    num_samples = len(tracks.f0) * HOP
    voiced, openness = _glottis(tracks, rng)
    breath = rng.standard_normal(num_samples) * (0.3 + 0.7 * openness)  # noise comes with the flow
    glottal = voiced * _per_sample(tracks.voicing) + 0.1 * breath * _per_sample(tracks.aspiration)
    friction = 0.025 * rng.standard_normal(num_samples) * _per_sample(tracks.frication)
    spectra = _frames(glottal) * _tract(tracks) + _frames(friction) * _friction_filter(tracks)
    pieces = np.fft.irfft(spectra, _FFT)
    sound = np.zeros(num_samples + 2 * _FFT)
    for part in range(0, _FFT, HOP):  # overlap-add: the same 80-sample slice of every frame at once
        piece = pieces[:, part : part + HOP]
        block = sound[part : part + len(pieces) * HOP].reshape(len(pieces), HOP)
        block[:, : piece.shape[1]] += piece
    return sound[HOP : HOP + num_samples]


def _per_sample(track: np.ndarray) -> np.ndarray:
    """Interpolate (T,) values in the middle of their frames to (T * 80,) linearly."""
    frames = (np.arange(len(track) * HOP) + 0.5) / HOP - 0.5
    return np.interp(frames, np.arange(len(track)), track)


def _glottis(tracks: Tracks, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the flow derivative of the glottal pulses, at most about 1, and how open the glottis is (0 to 1)."""
    cycles_a_sample = _per_sample(tracks.f0) / SAMPLE_RATE
    cycle = np.cumsum(cycles_a_sample).astype(int)
    cycles_a_sample *= 1 + np.clip(rng.standard_normal(cycle[-1] + 1)[cycle] * _per_sample(tracks.jitter), -0.2, 0.2)
    phase = np.cumsum(cycles_a_sample)
    cycle = phase.astype(int)
    amplitude = 1 + np.clip(rng.standard_normal(cycle[-1] + 1)[cycle] * _per_sample(tracks.shimmer), -0.5, 0.5)
    position = (phase - cycle) / _per_sample(tracks.open_quotient)
    openness = np.where(position < 1, 6.75 * position**2 * (1 - position), 0.0)
    # The difference of successive flows is the derivative averaged over a sample, which aliases far less than the
    # derivative sampled: the pulse ends in a jump.
    flow = openness * amplitude / cycles_a_sample
    return np.diff(flow, prepend=0.0) * _per_sample(tracks.open_quotient) / 6.75, openness


def _frames(source: np.ndarray) -> np.ndarray:
    """Return spectra (T + 1, bins) of the source in Hann windows of two hops, which add up to one everywhere."""
    window = np.hanning(2 * HOP + 1)[:-1]
    padded = np.concatenate([np.zeros(HOP), source, np.zeros(HOP)])
    return np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, 2 * HOP)[::HOP] * window, _FFT)


def _at_frames(track: np.ndarray) -> np.ndarray:
    """Return a track at the centres of the T + 1 windows of `_frames`, which lie where its frames meet."""
    edges = np.concatenate([track[:1], track, track[-1:]])
    return (edges[1:] + edges[:-1]) / 2


def _resonator(frequency: np.ndarray, bandwidth: np.ndarray | float) -> np.ndarray:
    """Return denominators (T, 3) of Klatt's resonator in powers of z^-1, from frequencies (T,) in Hz."""
    radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE) * np.ones_like(frequency)
    return np.stack([np.ones_like(frequency), -2 * radius * np.cos(2 * np.pi * frequency / SAMPLE_RATE), radius**2], 1)


def _product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Multiply polynomials (T, m) by polynomials (T, n), row by row, to (T, m + n - 1)."""
    result = np.zeros((len(first), first.shape[1] + second.shape[1] - 1))
    for power, coefficient in enumerate(second.T):
        result[:, power : power + first.shape[1]] += first * coefficient[:, None]
    return result


def _all_pole(denominator: np.ndarray) -> np.ndarray:
    """Return transfer functions (T, bins) with these denominators (T, n) and gain one at 0 Hz."""
    return denominator.sum(1, keepdims=True) / np.fft.rfft(denominator, _FFT)


def _tract(tracks: Tracks) -> np.ndarray:
    pole = np.exp(-2 * np.pi * _at_frames(tracks.tilt_cutoff) / SAMPLE_RATE)
    denominator = np.stack([np.ones_like(pole), -2 * pole, pole**2], 1)
    for formant in _at_frames(tracks.formants).T:
        denominator = _product(denominator, _resonator(formant, 55 + 0.03 * formant))
    return _all_pole(denominator)


def _friction_filter(tracks: Tracks) -> np.ndarray:
    radiation = 1 - np.exp(-2j * np.pi * np.arange(_FFT // 2 + 1) / _FFT)
    return 4 * radiation * _all_pole(_resonator(_at_frames(tracks.friction_centre), _FRICTION_BANDWIDTH))
