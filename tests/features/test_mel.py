"""Mel spectrograms and styles of a data directory: SpeechBrain's numbers, silence at the ends, other stores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("speechbrain", reason="SpeechBrain is not installed (requirements-dev.txt)")

from speechbrain.lobes.models.HifiGAN import mel_spectrogram
from tiny_synthesis import save_ge2e, save_vocoder

from ser.base.kaldi_tables import read_table, write_table
from ser.data.arks import read_arks
from ser.features.directories import front_end
from ser.features.mel import LogMel, speech_range
from ser.features.store import FeatureStore
from ser.nets.speaker import SpeakerReader
from ser.nets.vocoder_folder import MelOptions


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two utterances of noise between silences: half a second before it, a quarter after."""
    folder, random = tmp_path / "data", np.random.default_rng(0)
    folder.mkdir()
    for number in range(2):
        noise = (3000 * random.standard_normal(16000 + 800 * number)).astype(np.int16)
        samples = np.concatenate([np.zeros(8000, np.int16), noise, np.zeros(4000, np.int16)])
        soundfile.write(tmp_path / f"s-u{number}.wav", samples, 16000)
    write_table(folder / "wav.scp", {f"s-u{number}": tmp_path / f"s-u{number}.wav" for number in range(2)})
    write_table(folder / "utt2spk", {f"s-u{number}": "s" for number in range(2)})
    write_table(folder / "spk2utt", {"s": "s-u0 s-u1"})
    write_table(folder / "utt2emo", {"s-u0": "sad", "s-u1": "happy"})
    return folder


def test_mels_are_speechbrains_own() -> None:
    samples = 2000 * np.random.default_rng(1).standard_normal(20_000).astype(np.float32)
    made, audio = LogMel(MelOptions())(samples), torch.from_numpy(samples) / 32768
    expected = mel_spectrogram(
        16000, 256, 1024, 1024, 80, 0.0, 8000, 1, False, "slaney", "slaney", True, audio
    )  # fmt: skip
    assert made.shape == (1 + 20_000 // 256, 80)
    assert np.abs(made - expected.T.numpy()).max() < 1e-5
    assert np.all(LogMel(MelOptions())(np.zeros(2000, np.float32)) == np.float32(np.log(1e-5)))


def test_a_directory_of_speech_between_silences(data: Path, shell, tmp_path: Path) -> None:
    vocoder, speaker = save_vocoder(tmp_path / "vocoder"), save_ge2e(tmp_path / "ge2e")
    shell(f"steps/make_mel.sh --nj 1 --vocoder {vocoder} {data}")
    mels = dict(read_arks(data / "feats.scp"))
    audio, _ = soundfile.read(tmp_path / "s-u0.wav", dtype="int16")
    kept = audio[8000 - 800 : 8000 + 16000 + 800].astype(np.float32)
    expected = LogMel(MelOptions())(kept)
    assert np.abs(mels["s-u0"] - expected).max() < 2e-4, "all but two-byte rounding"
    assert read_table(data / "utt2dur")["s-u0"] == "1.1" and (data / "frame_shift").read_text() == "0.016\n"
    assert "--hop-length=256" in front_end([data])
    store = FeatureStore.load([data], torch.device("cpu"))
    assert store.dim == 80 and store.lengths.tolist() == [len(mels[name]) for name in sorted(mels)]
    said = shell(f"steps/make_styles.sh --nj 1 --speaker-encoder {speaker} {data}").stdout
    assert "2 utterances" in said
    with torch.inference_mode():
        heard = SpeakerReader(speaker)(torch.from_numpy(kept))
    styles = dict(read_arks(data / "styles.scp"))["s-u0"]
    assert np.allclose(styles[:, :-1], heard, atol=1e-5)
    assert np.allclose(styles[:, -1], np.log(np.sqrt(np.mean(kept.astype(np.float64) ** 2))), atol=1e-5)
    assert (data / "conf/styles.conf").read_text().startswith("--speaker-encoder=ge2e-")
    shell(f"utils/validate_data_dir.sh {data}")
    assert "mel spectrograms up to date" in shell(f"steps/make_mel.sh --nj 1 {data}").stdout, "the same, by default"


def test_where_speech_is() -> None:
    samples = np.zeros(16000, np.float32)
    assert speech_range(samples, 16000) == slice(0, 16000)
    samples[:] = 10
    assert speech_range(samples, 16000) == slice(0, 16000)
    samples[6400:9600] = 1000
    assert speech_range(samples, 16000) == slice(5600, 10400)
    samples[:320] = 30
    assert speech_range(samples, 16000) == slice(0, 10400), "31 dB below is heard"
    assert speech_range(samples[:100], 16000) == slice(0, 100)
