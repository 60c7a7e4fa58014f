"""Noise under speech: the table `utt2noise`, drawing pieces of noise files, reading them, mixing them in.

The arithmetic is that of Kaldi's `wav-reverberate` with a background noise: powers are means of squares over the whole
utterance and over the piece of noise under it, and the mix is scaled to the power of the clean speech.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import soundfile

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table
from ser.base.pcm import INT16_SCALE
from ser.data.audio import decode, resample

_KEPT_SECONDS = 10.0  # files up to this length are decoded whole and kept; of longer ones only the piece is read
_KEPT_FILES = 64  # 64 files of 10 s at 48 kHz are 123 MB, at MUSAN's 16 kHz 41 MB
_SCAN_SAMPLES = 1 << 20


@dataclass(frozen=True)
class NoiseSpec:
    """The noise of one utterance: SNR in dB, first sample (at the noise file's own rate), path of the file."""

    snr: float
    first_sample: int
    path: str

    def __str__(self) -> str:
        return f"{self.snr:g} {self.first_sample} {self.path}"


def read_utt2noise(path: str | os.PathLike[str]) -> dict[str, NoiseSpec]:
    """Read `<utterance> <SNR in dB> <first sample> <noise file>` lines.

    Raises:
        SerError: as `read_table`, or the SNR is no finite number, or the first sample is no number from 0 up.
    """
    return {utterance: _parse_spec(path, utterance, value) for utterance, value in read_table(path).items()}


def _parse_spec(table: str | os.PathLike[str], utterance: str, value: str) -> NoiseSpec:
    fields = value.split(None, 2)
    if len(fields) != 3 or not fields[1].isdecimal():
        raise SerError(f"{table}: {utterance}: expected '<SNR in dB> <first sample> <noise file>', found {value!r}")
    return NoiseSpec(parse_snr(fields[0], f"{table}: {utterance}"), int(fields[1]), fields[2])


def parse_snr(text: str, where: str) -> float:
    """Parse an SNR in dB. Raises SerError, whose message begins with `where`, for anything but a finite number."""
    try:
        snr = float(text)
    except ValueError:
        snr = math.nan
    if not math.isfinite(snr):
        raise SerError(f"{where}: the SNR must be a number of dB such as 10, 5 or 0, not {text!r}")
    return snr


def mix(speech: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Add `noise` to `speech` at `snr` dB and scale the sum to the power of `speech`.

    With P the mean square over all samples, m = s + n·sqrt(P(s) / (P(n)·10^(snr/10))), and the result is
    m·sqrt(P(s) / P(m)): Kaldi's `wav-reverberate --additive-signals --snrs`, background mode. It is not rounded or
    clipped to 16 bits.

    Args:
        speech: (samples,) float32. All-zero speech has no SNR and is returned as it is.
        noise: (samples,) float32 at the same rate, exactly as long.
        snr: ratio of the two powers in dB.

    Raises:
        SerError: the noise is all zero: no gain brings it to any SNR.
    """
    if speech.shape != noise.shape or speech.ndim != 1:
        raise ValueError(f"speech {speech.shape} and noise {noise.shape} must be equally long vectors")
    clean = np.asarray(speech, dtype=np.float64)
    clean_energy = clean @ clean
    if clean_energy == 0:
        return speech
    background = np.asarray(noise, dtype=np.float64)
    noise_energy = background @ background
    if noise_energy == 0:
        raise SerError("the piece of noise is silent")
    mixed = clean + math.sqrt(clean_energy / noise_energy * 10 ** (-snr / 10)) * background
    mixed_energy = mixed @ mixed
    if mixed_energy == 0:  # noise that is the speech upside down, at 0 dB
        raise SerError("the noise cancels the speech")
    return (math.sqrt(clean_energy / mixed_energy) * mixed).astype(np.float32)


class NoiseReader:
    """Reads the pieces that `NoiseSpec`s name, at `rate` Hz and int16 scale, in bounded memory."""

    def __init__(self, rate: int) -> None:
        self.rate = rate

    def read(self, spec: NoiseSpec, num_samples: int) -> np.ndarray:
        """Read `num_samples` samples at this reader's rate, from `spec.first_sample` on; a file that ends is repeated.

        Returns:
            (num_samples,) float32, channels averaged.

        Raises:
            SerError: the file is missing, unreadable, empty, has non-finite samples or is shorter than the spec says,
                or this piece of it is digital silence.
        """
        frames, native_rate = noise_header(spec.path)
        if spec.first_sample >= frames:
            raise SerError(
                f"{spec.path}: has {frames} samples, but utt2noise begins at sample {spec.first_sample}; "
                "the file has changed: run steps/augment_data_dir.sh again"
            )
        native_samples = -(-num_samples * native_rate // self.rate)
        piece = _read_looped(spec.path, spec.first_sample, native_samples)
        if not piece.any():
            raise SerError(
                f"{spec.path}: silent for {num_samples / self.rate:.2f} s from sample {spec.first_sample} on, so that "
                "no gain gives it an SNR; run steps/augment_data_dir.sh, which steps over silence"
            )
        return resample(piece, native_rate, self.rate)[:num_samples]


def read_noise_list(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a list of noise files, `<noise id> <audio file>` a line, and check that each can be opened.

    Raises:
        SerError: as `read_table` and `noise_header`.
    """
    noises = read_table(Path(path))
    for noise_path in noises.values():
        noise_header(noise_path)
    return noises


@cache
def noise_header(path: str) -> tuple[int, int]:
    """Read length in samples and rate in Hz from a header. Raises SerError for a missing, empty or other file."""
    try:
        with soundfile.SoundFile(path) as audio:
            frames, rate = audio.frames, audio.samplerate
    except soundfile.SoundFileError as error:
        reason = "no such file" if not os.path.exists(path) else f"not a readable audio file ({_reason(error)})"
        raise SerError(f"{path}: {reason}; mend the noise folder or take the file out of the list") from None
    if frames == 0:
        raise SerError(f"{path}: holds no samples; take the file out of the noise list")
    return frames, rate


def draw_condition(lists: Collection[str], snrs: Collection[float], utterance: str, seed: int) -> tuple[str, float]:
    """Draw one of several noise lists, by name, and one of several SNRs in dB, as a pure function of the arguments.

    Every pair is equally likely. The order of lists and of SNRs does not matter.
    """
    names, levels = sorted(lists), sorted(snrs)
    key = (seed, utterance, names, levels)
    return names[_draw(len(names), *key, "list")], levels[_draw(len(levels), *key, "snr")]


def draw_noise(
    noises: Mapping[str, str], utterance: str, seconds: float, snr: float, purpose: str, seed: int
) -> NoiseSpec:
    """Draw a noise file and its first sample, as a pure function of the arguments.

    Every file is equally likely. A file longer than the utterance begins where enough of it is left; a shorter one,
    which will be looped, may begin at any sample. A piece that would be digital silence begins instead at the file's
    next non-zero sample.

    Args:
        noises: file of each noise id; the draw depends on the sorted ids, not on the folder of the files.
        utterance: id of the source utterance.
        seconds: its duration.
        purpose: a name that makes draws for different copies independent, such as that of the noise list.

    Raises:
        SerError: the drawn file is missing, unreadable, empty, has non-finite samples or is silent throughout.
    """
    noise_ids = sorted(noises, key=str.encode)
    path = noises[noise_ids[_draw(len(noise_ids), seed, utterance, purpose, snr, "file")]]
    frames, rate = noise_header(path)
    needed = max(1, math.ceil(seconds * rate))
    offsets = frames - needed + 1 if frames >= needed else frames
    first = _draw(offsets, seed, utterance, purpose, snr, "offset")
    if not _read_looped(path, first, needed).any():
        first = first_sound(path, first)
    return NoiseSpec(snr, first, path)


def _draw(count: int, *key: object) -> int:
    """Draw from 0 … count - 1, uniformly. Scales a hash: with a remainder, a new `count` would change every draw."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8]) * count >> 64


def first_sound(path: str, first: int) -> int:
    """Return the position of the first non-zero sample from `first` on, in the file repeated."""
    frames, _ = noise_header(path)
    for begin, end in ((first, frames), (0, first)):
        for block in range(begin, end, _SCAN_SAMPLES):
            sounding = np.flatnonzero(_read(path, block, min(_SCAN_SAMPLES, end - block)))
            if len(sounding):
                return block + int(sounding[0])
    raise SerError(f"{path}: is silent throughout; take the file out of the noise list")


def _read_looped(path: str, first: int, count: int) -> np.ndarray:
    """Read `count` samples at the file's own rate from `first` on, of the file repeated."""
    frames, rate = noise_header(path)
    if frames <= _KEPT_SECONDS * rate:
        return np.take(_read_whole(path), np.arange(first, first + count), mode="wrap")
    pieces = []
    while count > 0:
        pieces.append(_read(path, first, min(count, frames - first)))
        count -= len(pieces[-1])
        first = 0
    return np.concatenate(pieces)


@lru_cache(maxsize=_KEPT_FILES)
def _read_whole(path: str) -> np.ndarray:
    return decode(path).samples


def _read(path: str, first: int, count: int) -> np.ndarray:
    """Read a piece of what `decode` returns: (count,) float32 at int16 scale, channels averaged, the file's rate."""
    try:
        samples, _ = soundfile.read(path, frames=count, start=first, dtype="float32")
    except soundfile.SoundFileError as error:
        raise SerError(f"{path}: cannot be read ({_reason(error)}); mend the noise folder") from None
    if len(samples) != count:
        raise SerError(
            f"{path}: truncated: ends at sample {first + len(samples)} where its header promises {first + count} or "
            "more; mend the noise folder"
        )
    if not np.isfinite(samples).all():
        raise SerError(f"{path}: holds samples that are NaN or infinite; take the file out of the noise list")
    return (samples if samples.ndim == 1 else samples.mean(axis=1)) * np.float32(INT16_SCALE)


def _reason(error: soundfile.SoundFileError) -> str:
    return getattr(error, "error_string", str(error)).rstrip(".")
