"""Kaldi's front end: MFCC, energy VAD, mean normalisation and voiced-frame selection, on whole utterances at once."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from ser.base.errors import SerError

_BLOCK_FRAMES = 2048  # frames in one call of torchaudio, whose temporaries then fit in the processor's cache
_WINDOW_TYPES = ("hamming", "hanning", "povey", "rectangular", "blackman")
_BOOLEANS = {"true": True, "t": True, "1": True, "": True, "false": False, "f": False, "0": False}

Options = TypeVar("Options")


def read_conf(path: str | os.PathLike[str], options: type[Options]) -> Options:
    """Read a Kaldi option file, `--name=value` lines and # comments, into a dataclass of that tool's options.

    Raises:
        SerError: no such file, an option that the dataclass does not have, or a value of the wrong type or out of
            range; the message names file and line.
    """
    try:
        return parse_conf(Path(path).read_text(encoding="utf-8"), options, path)
    except FileNotFoundError:
        raise SerError(f"{path}: no such file") from None


def parse_conf(text: str, options: type[Options], path: str | os.PathLike[str]) -> Options:
    """Do what `read_conf` does with the text of a file; messages name `path`."""
    fields = {field.name.replace("_", "-"): field for field in dataclasses.fields(options)}  # type: ignore[arg-type]
    values: dict[str, object] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        name, _, value = (part.strip() for part in line.removeprefix("--").partition("="))
        if not line.startswith("--") or name not in fields:
            raise SerError(f"{path}:{number}: {line!r} is not one of the options --{', --'.join(sorted(fields))}")
        try:
            values[fields[name].name] = _convert(str(fields[name].type), value)
        except (ValueError, KeyError):
            raise SerError(f"{path}:{number}: --{name} takes a {fields[name].type}, not {value!r}") from None
    try:
        return options(**values)
    except ValueError as error:
        raise SerError(f"{path}: {error}") from None


def _convert(kind: str, value: str) -> object:
    if kind == "bool":
        return _BOOLEANS[value.lower()]
    return {"int": int, "float": float, "str": str}[kind](value)


@dataclass(frozen=True)
class MfccOptions:
    """Options of Kaldi's `compute-mfcc-feats`, with its defaults except `dither`, which is 0.

    Times in ms (`min_duration` in s), frequencies in Hz; a `high_freq` up to 0 counts from the Nyquist frequency.
    `channel` -1 averages a recording's channels.

    Raises:
        ValueError: a value is out of range.
    """

    sample_frequency: float = 16000.0
    frame_length: float = 25.0
    frame_shift: float = 10.0
    num_mel_bins: int = 23
    num_ceps: int = 13
    low_freq: float = 20.0
    high_freq: float = 0.0
    snip_edges: bool = True
    dither: float = 0.0
    use_energy: bool = True
    raw_energy: bool = True
    energy_floor: float = 0.0
    remove_dc_offset: bool = True
    preemphasis_coefficient: float = 0.97
    window_type: str = "povey"
    blackman_coeff: float = 0.42
    round_to_power_of_two: bool = True
    cepstral_lifter: float = 22.0
    htk_compat: bool = False
    subtract_mean: bool = False
    min_duration: float = 0.0
    channel: int = -1
    vtln_low: float = 100.0
    vtln_high: float = -500.0
    vtln_warp: float = 1.0

    def __post_init__(self) -> None:
        nyquist = self.sample_frequency / 2
        high = self.high_freq + nyquist if self.high_freq <= 0 else self.high_freq
        vtln_high = self.vtln_high + nyquist if self.vtln_high < 0 else self.vtln_high
        rules = {
            "--sample-frequency must be a whole number of Hz": self.sample_frequency == self.rate > 0,
            "--frame-shift and --frame-length are too short": self.shift >= 1 and self.window >= 2,
            "--frame-length must be an even number of samples without --round-to-power-of-two":
                self.round_to_power_of_two or self.window % 2 == 0,
            "--num-mel-bins must be at least 4": self.num_mel_bins > 3,
            "--num-ceps must be from 1 to --num-mel-bins": 0 < self.num_ceps <= self.num_mel_bins,
            "--low-freq and --high-freq must be in order between 0 and half of --sample-frequency":
                0 <= self.low_freq < high <= nyquist,
            "--preemphasis-coefficient must be from 0 to 1": 0 <= self.preemphasis_coefficient <= 1,
            "--dither must not be negative": self.dither >= 0,
            f"--window-type must be one of {', '.join(_WINDOW_TYPES)}": self.window_type in _WINDOW_TYPES,
            "--vtln-low and --vtln-high must be in order between --low-freq and --high-freq":
                self.vtln_warp == 1 or self.low_freq < self.vtln_low < vtln_high < high,
        }
        for rule, kept in rules.items():
            if not kept:
                raise ValueError(rule)

    @property
    def rate(self) -> int:
        """Sampling rate in Hz."""
        return int(self.sample_frequency)

    @property
    def shift(self) -> int:
        """Frame shift in samples."""
        return int(self.sample_frequency * self.frame_shift * 0.001)

    @property
    def window(self) -> int:
        """Frame length in samples."""
        return int(self.sample_frequency * self.frame_length * 0.001)

    def num_frames(self, num_samples: int) -> int:
        """Return how many frames a waveform has (Kaldi's `NumFrames`); 0 if shorter than one or `min_duration`."""
        if num_samples < max(self.window, self.min_duration * self.sample_frequency):
            return 0
        if self.snip_edges:
            return 1 + (num_samples - self.window) // self.shift
        return (num_samples + self.shift // 2) // self.shift


def mfcc(
    waveforms: Sequence[np.ndarray], options: MfccOptions, dither_keys: Sequence[str] | None = None
) -> list[np.ndarray]:
    """Compute MFCC of many waveforms, Kaldi's numbers, by `torchaudio.compliance.kaldi.mfcc`.

    The waveforms, mirrored at their edges where `snip_edges` is false, are joined, each beginning at a multiple of the
    frame shift, so that one call computes the frames of many; frames across two of them are left out. Memory is about
    8 times that of the waveforms.

    Args:
        waveforms: each (samples,) float32 at int16 scale and `options.sample_frequency`.
        dither_keys: for each waveform a string that seeds its dither; needed when `options.dither` is not 0. Equal keys
            give equal dither, whatever else is in the list. The noise is added to the waveform, before framing.

    Returns:
        For each waveform (frames, num_ceps) float32; (0, num_ceps) for one shorter than a frame.
    """
    import torch
    import torchaudio.compliance.kaldi

    frames = [options.num_frames(len(waveform)) for waveform in waveforms]
    # Position of each waveform's first frame, in frames; the next waveform begins after the end of the last window.
    tail = -(-options.window // options.shift) - 1
    first = np.concatenate(([0], np.cumsum([count + tail if count else 0 for count in frames])))
    signal = np.zeros(int(first[-1]) * options.shift + options.window, dtype=np.float32)
    before = 0 if options.snip_edges else options.window // 2 - options.shift // 2
    for number, (waveform, count, begin) in enumerate(zip(waveforms, frames, first, strict=False)):
        if count == 0:
            continue
        if options.dither:
            if dither_keys is None:
                raise ValueError("dither needs dither_keys")
            waveform = waveform + np.float32(options.dither) * _gauss(dither_keys[number], len(waveform))
        length = (count - 1) * options.shift + options.window
        place = signal[begin * options.shift :][:length]
        _mirror(waveform, before, place)
    keywords = dataclasses.asdict(options)
    for ours in ("dither", "snip_edges", "subtract_mean", "min_duration", "channel"):
        del keywords[ours]
    total = int(first[-1])
    features = np.empty((total, options.num_ceps), dtype=np.float32)
    with torch.inference_mode():
        samples = torch.from_numpy(signal).unsqueeze(0)
        for block in range(0, total, _BLOCK_FRAMES):
            end = min(block + _BLOCK_FRAMES, total)
            piece = samples[:, block * options.shift : (end - 1) * options.shift + options.window]
            features[block:end] = torchaudio.compliance.kaldi.mfcc(piece, **keywords).numpy()
    result = [features[begin : begin + count] for begin, count in zip(first, frames, strict=False)]
    if options.subtract_mean:
        result = [utterance_cmn(matrix) for matrix in result]
    return result


def _mirror(waveform: np.ndarray, before: int, place: np.ndarray) -> None:
    """Fill `place` with the waveform from sample -before on, mirrored at its edges as in Kaldi: … 2 1 0 | 0 1 2 …"""
    inside = waveform[max(0, -before) :][: len(place) - max(0, before)]
    before = max(0, before)
    place[before : before + len(inside)] = inside
    place[:before] = waveform[:before][::-1]  # a waveform is at least a frame long, so one reflection is enough
    after = len(place) - before - len(inside)
    if after:
        place[-after:] = waveform[-after:][::-1]


def _gauss(key: str, count: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
    return np.random.default_rng(seed).standard_normal(count, dtype=np.float32)


@dataclass(frozen=True)
class VadOptions:
    """Options of Kaldi's `compute-vad`, with its defaults.

    Raises:
        ValueError: a value is out of range.
    """

    vad_energy_threshold: float = 5.0
    vad_energy_mean_scale: float = 0.5
    vad_proportion_threshold: float = 0.6
    vad_frames_context: int = 0

    def __post_init__(self) -> None:
        if self.vad_energy_mean_scale < 0:
            raise ValueError("--vad-energy-mean-scale must not be negative")
        if not 0 < self.vad_proportion_threshold < 1:
            raise ValueError("--vad-proportion-threshold must be between 0 and 1")
        if self.vad_frames_context < 0:
            raise ValueError("--vad-frames-context must not be negative")


def vad(log_energy: np.ndarray, options: VadOptions) -> np.ndarray:
    """Decide which frames are voiced, by their energy, as Kaldi's `ComputeVadEnergy`.

    A frame is voiced when at least `vad_proportion_threshold` of the frames up to `vad_frames_context` away exceed
    `vad_energy_threshold` + `vad_energy_mean_scale` × the utterance's mean log energy.

    Args:
        log_energy: (frames,) natural logarithm of frame energies at int16 scale: column 0 of MFCC.

    Returns:
        (frames,) float32, 1 for voiced frames and 0 for others.
    """
    if len(log_energy) == 0:
        return np.zeros(0, dtype=np.float32)
    threshold = options.vad_energy_threshold + options.vad_energy_mean_scale * log_energy.mean(dtype=np.float64)
    above = np.concatenate(([0], np.cumsum(log_energy > threshold)))
    frame = np.arange(len(log_energy))
    begin = np.maximum(frame - options.vad_frames_context, 0)
    end = np.minimum(frame + options.vad_frames_context + 1, len(log_energy))
    needed = (end - begin).astype(np.float32) * np.float32(options.vad_proportion_threshold)  # Kaldi's precision
    return (above[end] - above[begin] >= needed).astype(np.float32)


def sliding_cmn(features: np.ndarray, window: int = 300) -> np.ndarray:
    """Subtract the mean over a sliding window, Kaldi's `apply-cmvn-sliding --center=true --norm-vars=false`.

    The window of frame t begins at t - window // 2. It is moved inside where it would extend beyond an edge; in a
    shorter utterance it is the whole utterance.

    Args:
        features: (frames, dimensions) float32.
        window: frames.

    Returns:
        (frames, dimensions) float32.
    """
    frames = len(features)
    sums = np.zeros((frames + 1, features.shape[1]))
    np.cumsum(features, axis=0, dtype=np.float64, out=sums[1:])
    begin = np.clip(np.arange(frames) - window // 2, 0, max(0, frames - window))
    end = np.minimum(begin + window, frames)
    return (features - (sums[end] - sums[begin]) / (end - begin)[:, None]).astype(np.float32)


def utterance_cmn(features: np.ndarray) -> np.ndarray:
    """Subtract the mean over all frames of (frames, dimensions) float32 features."""
    return (features - features.mean(axis=0, dtype=np.float64)).astype(np.float32)


CMN: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # normalisations that need nothing but the utterance's features
    "sliding": sliding_cmn,
    "utterance": utterance_cmn,
    "none": lambda features: features,
}
