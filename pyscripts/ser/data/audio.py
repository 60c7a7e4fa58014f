"""Reading audio as Kaldi names it (files, pipes, segments of recordings) into mono float32 waveforms.

Waveforms are at int16 scale (-32768..32767), Kaldi's, whatever the file's own sample format.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import soundfile

from ser.base.errors import SerError
from ser.base.files import is_lfs_pointer
from ser.base.kaldi_tables import read_table
from ser.base.pcm import INT16_SCALE

if TYPE_CHECKING:  # importing torch takes a second, and many programs that read audio never resample
    from torchaudio.transforms import Resample

_UNKNOWN_SIZES = {0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF}  # data sizes in headers of WAV that was written to a pipe
OVERSHOOT_SECONDS = 0.5  # a segment may end this much after its recording, as in Kaldi's extract-segments


class AudioError(SerError):
    """The content of one recording cannot be used. A file that cannot be opened raises a plain SerError instead."""


class UnknownFormat(AudioError):
    """The content of one recording is no audio that libsndfile reads."""


@dataclass(frozen=True)
class DecodedAudio:
    """A decoded recording: (samples,) float32 at int16 scale, its own rate in Hz, and how many channels it had."""

    samples: np.ndarray
    rate: int
    channels: int


@dataclass(frozen=True)
class Waveform:
    """An utterance: (samples,) float32 at int16 scale and the rate asked for, and its seconds before resampling."""

    samples: np.ndarray
    seconds: float


def is_pipe(rxfile: str) -> bool:
    """Return whether a wav.scp entry is a command whose output is the audio."""
    return rxfile.rstrip().endswith("|")


def decode(rxfile: str, channel: int = -1) -> DecodedAudio:
    """Decode a whole file, or the output of a Kaldi pipe (`command |`, run by bash), at its own rate.

    Args:
        channel: which channel to take, from 0; -1 averages them all.

    Raises:
        SerError: the file is missing or may not be read.
        AudioError: it is empty, no audio, truncated, has no samples, NaN or infinite ones, or no such channel, or the
            command failed.
    """
    if is_pipe(rxfile):
        command = ["bash", "-o", "pipefail", "-c", rxfile.rstrip()[:-1]]
        return _decode_output(command, rxfile, channel, "mend the command")
    return _decode_file(rxfile, channel)


def decode_any(path: str | os.PathLike[str], channel: int = -1) -> DecodedAudio:
    """Decode a file of any format that libsndfile or, where it is installed, ffmpeg reads, at its own rate.

    Raises:
        SerError, AudioError: as `decode`.
    """
    path = os.fspath(path)
    try:
        return _decode_file(path, channel)
    except UnknownFormat as error:
        if not shutil.which("ffmpeg") or is_lfs_pointer(path):
            raise UnknownFormat(f"{error}, or install ffmpeg, which reads more formats") from None
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", f"file:{path}", "-map", "0:a:0", "-f", "wav", "-"]
    return _decode_output(command, path, channel, "it is not audio that ffmpeg reads; convert it to WAV or FLAC")


def _decode_file(path: str, channel: int) -> DecodedAudio:
    try:
        with open(path, "rb") as file:
            _check_wav_length(file, os.fstat(file.fileno()).st_size, path)
    except OSError as error:
        raise SerError(f"{path}: {error.strerror}; correct the path, or restore the file") from None
    return _decode(path, path, channel)


def _decode_output(command: Sequence[str], name: str, channel: int, remedy: str) -> DecodedAudio:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise AudioError(f"{name}: exit status {done.returncode}{': ' + said[-1] if said else ''}; {remedy}")
    _check_wav_length(io.BytesIO(done.stdout), len(done.stdout), name)
    return _decode(io.BytesIO(done.stdout), name, channel)


def _check_wav_length(file: BinaryIO, size: int, name: str) -> None:
    """Raise AudioError for a WAV file shorter than its header says: libsndfile would return what is there, silently."""
    if size == 0:
        raise AudioError(f"{name}: is empty (0 bytes); copy or convert it again")
    riff = file.read(12)
    if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        return
    position = 12
    while len(header := file.read(8)) == 8:
        chunk, length = struct.unpack("<4sI", header)
        position += 8
        if chunk == b"data":
            if length not in _UNKNOWN_SIZES and position + length > size:
                raise AudioError(
                    f"{name}: truncated: its header promises {length} bytes of samples, {size - position} are there; "
                    "copy it again"
                )
            return
        position += length + length % 2
        file.seek(position)
    raise AudioError(f"{name}: truncated: a WAV header without samples; copy it again")


def _decode(source: str | BinaryIO, name: str, channel: int) -> DecodedAudio:
    try:
        with soundfile.SoundFile(source) as audio:
            frames, rate, channels = audio.frames, audio.samplerate, audio.channels
            # libsndfile's own conversion to float is ten times slower than numpy's.
            samples = audio.read(dtype="int16" if audio.subtype == "PCM_16" else "float32")
    except soundfile.SoundFileError as error:
        raise UnknownFormat(f"{name}: {_what_it_is(source)} ({getattr(error, 'error_string', error)})") from None
    if len(samples) < frames < 1 << 62:  # unknown lengths are reported as huge ones
        raise AudioError(f"{name}: truncated: {len(samples)} of {frames} samples can be decoded; copy it again")
    if len(samples) == 0:
        raise AudioError(f"{name}: has no samples; record or copy it again")
    if samples.dtype == np.int16:
        samples = samples.astype(np.float32)
    else:
        if not np.isfinite(samples).all():
            raise AudioError(f"{name}: has NaN or infinite samples; convert it again")
        samples *= INT16_SCALE
    if channels > 1:
        if channel >= channels:
            raise AudioError(f"{name}: has {channels} channels, so none numbered {channel}; change --channel")
        samples = samples.mean(axis=1) if channel < 0 else np.ascontiguousarray(samples[:, channel])
    return DecodedAudio(samples, rate, channels)


def _what_it_is(source: str | BinaryIO) -> str:
    if isinstance(source, str):
        if is_lfs_pointer(source):
            return "a Git LFS pointer, not audio; run `git lfs pull` in its repository"
        with open(source, "rb") as file:
            start = file.read(16)
    else:
        source.seek(0)
        start = source.read(16)
    return f"not audio that libsndfile reads, it begins with {start!r}; convert it to WAV or FLAC"


@lru_cache(maxsize=16)
def _resampler(source_rate: int, target_rate: int) -> Resample:
    from torchaudio.transforms import Resample

    return Resample(source_rate, target_rate)  # torchaudio.functional.resample with its kernel made once


def resample(waveform: np.ndarray, source_rate: int, target_rate: int) -> np.ndarray:
    """Resample (samples,) float32 by torchaudio's windowed sinc; returns the array itself when the rates are equal."""
    if source_rate == target_rate or len(waveform) == 0:
        return waveform
    import torch

    with torch.inference_mode():
        return _resampler(source_rate, target_rate)(torch.from_numpy(np.ascontiguousarray(waveform))).numpy()


def read_audio(rxfile: str, rate: int, start: float = 0.0, end: float | None = None) -> np.ndarray:
    """Read a path or Kaldi pipe as (samples,) float32, channels averaged, resampled to `rate` Hz, at int16 scale.

    Args:
        start, end: the piece wanted, in seconds of the recording; an `end` of None is the recording's.

    Raises:
        SerError, AudioError: as `decode`; or the piece is not inside the recording.
    """
    audio = decode(rxfile)
    samples = audio.samples if (start, end) == (0.0, None) else cut(audio, start, end, rxfile)
    return resample(samples, audio.rate, rate)


def cut(audio: DecodedAudio, start: float, end: float | None, name: str, remedy: str = "mend segments") -> np.ndarray:
    """Return the samples of a piece of a recording, from `start` to `end` in seconds; None or -1: to its end.

    Raises:
        AudioError: the piece is not inside the recording; the message begins with `name` and ends with `remedy`.
    """
    length = len(audio.samples) / audio.rate
    if end is None or end < 0:
        end = length
    if not 0 <= start < min(end, length) or end > length + OVERSHOOT_SECONDS:
        raise AudioError(f"{name}: {start}..{end} s is not inside its {length:.3f} s; {remedy}")
    return audio.samples[int(start * audio.rate) : int(end * audio.rate)]


class UtteranceReader:
    """Reads the utterances of a data directory: `wav.scp`, cut by `segments` where there is one.

    Consecutive segments of one recording are cut from one decoding of it, and consecutive copies of one utterance are
    one array, which must not be changed. After iteration `resampled` and `mixed_down` are the numbers of recordings
    that had another rate or several channels.

    Args:
        data: the data directory.
        rate: the rate wanted, in Hz.
        channel: as in `decode`.
        only: the utterances that are read; None: all.

    Raises:
        SerError: a table is malformed, or `segments` names a recording that `wav.scp` does not have.
    """

    def __init__(self, data: Path, rate: int, channel: int = -1, only: Container[str] | None = None) -> None:
        self.rate, self.channel = rate, channel
        self.resampled = self.mixed_down = 0
        utterances = read_utterances(data)
        self._utterances = {name: utterances[name] for name in utterances if only is None or name in only}

    def __len__(self) -> int:
        return len(self._utterances)

    def __iter__(self) -> Iterator[tuple[str, Waveform | AudioError]]:
        """Yield every utterance once, in order, with its waveform or with what is wrong with it."""
        decoded = lru_cache(maxsize=1)(self._decode)

        @lru_cache(maxsize=1)
        def waveform(rxfile: str, start: float, end: float | None) -> Waveform | AudioError:
            audio = decoded(rxfile)
            if isinstance(audio, AudioError):
                return audio
            try:
                samples = audio.samples if end is None else cut(audio, start, end, rxfile)
            except AudioError as error:
                return error
            return Waveform(resample(samples, audio.rate, self.rate), len(samples) / audio.rate)

        for utterance, source in self._utterances.items():
            yield utterance, waveform(*source)

    def _decode(self, rxfile: str) -> DecodedAudio | AudioError:
        try:
            audio = decode(rxfile, self.channel)
        except AudioError as error:
            return error
        self.resampled += audio.rate != self.rate
        self.mixed_down += audio.channels > 1 and self.channel < 0
        return audio


def read_utterances(data: Path) -> dict[str, tuple[str, float, float | None]]:
    """Return for every utterance of a data directory its file or pipe, and its start and end in it, in seconds.

    Without `segments` an utterance is its recording, from 0 to None. An end of -1 is the recording's.

    Raises:
        SerError: a table is malformed, or `segments` names a recording that `wav.scp` does not have.
    """
    recordings = read_table(data / "wav.scp")
    path = data / "segments"
    if not path.exists():
        return {utterance: (rxfile, 0.0, None) for utterance, rxfile in recordings.items()}
    utterances: dict[str, tuple[str, float, float | None]] = {}
    for utterance, value in read_table(path).items():
        try:
            name, start, end = value.split()
            utterances[utterance] = recordings[name], float(start), float(end)
        except ValueError:
            raise SerError(f"{path}: {utterance}: expected '<recording> <start> <end>', found {value!r}") from None
        except KeyError:
            raise SerError(f"{path}: {utterance}: recording {name} is not in wav.scp; complete wav.scp") from None
    return utterances
