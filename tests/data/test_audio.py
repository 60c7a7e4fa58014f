"""Reading audio: every format at one scale, and every kind of bad file named with its remedy."""

from __future__ import annotations

import shlex
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from ser.base.errors import SerError
from ser.data.audio import AudioError, UtteranceReader, decode, read_audio


@pytest.fixture
def waveform() -> np.ndarray:
    return np.round(8000 * np.sin(np.arange(16000) * 0.1)).astype(np.int16)


@pytest.fixture
def wav(tmp_path, waveform) -> Path:
    soundfile.write(tmp_path / "a.wav", waveform, 16000)
    return tmp_path / "a.wav"


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("wav", "DOUBLE"), ("flac", "PCM_16"), ("aiff", "PCM_16")],
)
def test_one_scale_for_all_formats(tmp_path, waveform, suffix, subtype):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, waveform / 32768, 16000, subtype=subtype)
    samples = read_audio(str(path), 16000)
    assert samples.dtype == np.float32 and np.abs(samples - waveform).max() < 0.51


def test_lossy_and_companded_formats(tmp_path, waveform):
    for name, subtype in (("a.ogg", "VORBIS"), ("a.wav", "ULAW")):
        soundfile.write(tmp_path / name, waveform / 32768, 16000, subtype=subtype)
        samples = read_audio(str(tmp_path / name), 16000)
        assert len(samples) == len(waveform) and np.corrcoef(samples, waveform)[0, 1] > 0.99


def test_channels_are_averaged_or_chosen(tmp_path):
    stereo = np.stack([np.full(800, 100), np.full(800, 301)], axis=1).astype(np.int16)
    soundfile.write(tmp_path / "s.wav", stereo, 8000)
    assert (read_audio(str(tmp_path / "s.wav"), 8000) == 200.5).all()
    assert (decode(str(tmp_path / "s.wav"), channel=1).samples == 301).all()
    with pytest.raises(AudioError, match="2 channels"):
        decode(str(tmp_path / "s.wav"), channel=2)


@pytest.mark.parametrize("rate", [48000, 44100, 8000, 11025])
def test_resampling_is_torchaudios(tmp_path, rate):
    samples = (1000 * np.random.default_rng(0).standard_normal(rate)).astype(np.int16)
    soundfile.write(tmp_path / "r.wav", samples, rate)
    ours = read_audio(str(tmp_path / "r.wav"), 8000)
    theirs = torchaudio.functional.resample(torch.from_numpy(samples.astype(np.float32)), rate, 8000).numpy()
    assert ours.shape == theirs.shape == (8000,) and np.allclose(ours, theirs, atol=0.1)


def test_pieces(wav, waveform):
    assert np.array_equal(read_audio(str(wav), 16000, 0.25, 0.5), waveform[4000:8000])
    assert np.array_equal(read_audio(str(wav), 16000, 0.25), waveform[4000:])
    assert np.array_equal(read_audio(str(wav), 16000, 0.25, 1.3), waveform[4000:])  # a little over, as in Kaldi
    for start, end in ((0.5, 0.5), (0.5, 0.2), (-0.1, 0.5), (1.0, 1.2), (0.0, 1.6)):
        with pytest.raises(AudioError, match=r"a\.wav: .*not inside.*segments"):
            read_audio(str(wav), 16000, start, end)


def test_pipes(wav, waveform):
    assert np.array_equal(read_audio(f"cat {shlex.quote(str(wav))} |", 16000), waveform)
    # A program that writes WAV to a pipe cannot know the length when it writes the header.
    for size in (0x7FFFFFFF, 0xFFFFFFFF):
        content = wav.read_bytes()
        streamed = wav.with_name("streamed.wav")
        streamed.write_bytes(content[:40] + struct.pack("<I", size) + content[44:])
        assert np.array_equal(read_audio(f"cat {streamed} |", 16000), waveform)
    with pytest.raises(AudioError, match=r"exit status 3: it hurts; mend"):
        read_audio("echo it hurts >&2; exit 3 |", 16000)
    with pytest.raises(AudioError, match="exit status"):
        read_audio("cat /nowhere.wav | cat |", 16000)
    with pytest.raises(AudioError, match="empty"):
        read_audio("true |", 16000)


def bad_empty(path: Path) -> None:
    path.write_bytes(b"")


def bad_text(path: Path) -> None:
    path.write_text("this is no audio\n")


def bad_pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99\n")


def bad_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def bad_header_only(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:30])


def bad_nan(path: Path) -> None:
    soundfile.write(path, np.array([0, np.nan, 0.5], np.float32), 16000, subtype="FLOAT")


def bad_infinite(path: Path) -> None:
    soundfile.write(path, np.array([0, np.inf, 0.5], np.float32), 16000, subtype="FLOAT")


def bad_no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0, np.int16), 16000)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (bad_empty, "is empty"),
        (bad_text, "not audio that libsndfile reads, it begins with b'this is no audio'"),
        (bad_pointer, "Git LFS pointer.*git lfs pull"),
        (bad_truncated, "truncated: its header promises 32000 bytes of samples, 31000 are there; copy it again"),
        (bad_header_only, "truncated"),
        (bad_nan, "NaN or infinite"),
        (bad_infinite, "NaN or infinite"),
        (bad_no_samples, "no samples"),
    ],
)
def test_bad_files_are_named(wav, spoil, said):
    spoil(wav)
    with pytest.raises(AudioError, match=rf"a\.wav: .*{said}"):
        read_audio(str(wav), 16000)


def test_truncated_flac(tmp_path, waveform):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).integers(-9000, 9000, 160000).astype(np.int16), 16000)
    path.write_bytes(path.read_bytes()[:-100000])
    with pytest.raises(AudioError, match=r"a\.flac: "):
        read_audio(str(path), 16000)


def test_a_missing_file_is_no_content_problem(tmp_path):
    with pytest.raises(SerError, match=r"b\.wav: No such file") as caught:
        read_audio(str(tmp_path / "b.wav"), 16000)
    assert not isinstance(caught.value, AudioError)


def test_segments(tmp_path, wav, waveform):
    counter = tmp_path / "reads"
    (tmp_path / "wav.scp").write_text(f"r1 echo . >> {counter}; cat {wav} |\nr2 {wav}\n")
    (tmp_path / "segments").write_text("a r1 0 0.25\nb r1 0.25 0.5\nc r2 0.5 -1\nd r2 3 4\n")
    reader = UtteranceReader(tmp_path, 8000)
    utterances = dict(reader)
    assert list(utterances) == ["a", "b", "c", "d"] and len(reader) == 4
    assert counter.read_text() == ".\n"
    assert [len(utterances[name].samples) for name in "abc"] == [2000, 2000, 4000]
    assert utterances["b"].seconds == 0.25
    assert isinstance(utterances["d"], AudioError)
    assert (reader.resampled, reader.mixed_down) == (2, 0)
    (tmp_path / "segments").write_text("a r3 0 0.25\n")
    with pytest.raises(SerError, match=r"segments: a: recording r3 is not in wav\.scp"):
        UtteranceReader(tmp_path, 8000)
