"""Speed, pitch and VTLP: what becomes of sines, and copies of a data directory as a user makes them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torchaudio

from ser.base.kaldi_tables import read_table, write_table
from ser.data.arks import read_arks
from ser.features.perturb import Perturbation, draw_amount


def sine(frequency: float, rate: int, seconds: float = 2) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def heard(samples: np.ndarray, rate: int) -> float:
    """Return the frequency of a sine, which the peak of a long window's spectrum tells to 0.02 Hz."""
    inner = samples[rate // 4 : -rate // 4]
    return float(np.abs(np.fft.rfft(inner * np.hanning(len(inner)), 2**20)).argmax()) * rate / 2**20


@pytest.mark.parametrize("rate", (8000, 16000))
@pytest.mark.parametrize(
    ("kind", "amount", "ratio"),
    [("pitch", 2, 2 ** (1 / 6)), ("pitch", -2, 2 ** (-1 / 6)), ("vtlp", 1.1, 1.1), ("vtlp", 0.9, 0.9)],
)
def test_a_sine_moves_within_5_cents_and_keeps_length_and_power(rate, kind, amount, ratio):
    for frequency in (150, 440, 1500):
        samples = sine(frequency, rate)
        moved = Perturbation(kind, amount).apply(samples, rate)
        assert len(moved) == len(samples) and moved.dtype == np.float32
        assert abs(1200 * math.log2(heard(moved, rate) / (ratio * frequency))) < 5
        assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(samples), 1e-4)


def test_vtlp_bends_back_to_the_nyquist_frequency():
    # Above the knee of 4.8 kHz at 16 kHz: 8 - (8 - 4.8) / (8 - 4.8 / 1.1) · (8 - f)
    moved = Perturbation("vtlp", 1.1).apply(sine(6000, 16000), 16000)
    assert heard(moved, 16000) == pytest.approx(8000 - 3200 / (8000 - 4800 / 1.1) * 2000, abs=2)


def test_speed_is_torchaudios():
    samples = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    expected, _ = torchaudio.functional.speed(torchaudio.torch.from_numpy(samples), 16000, 0.9)
    made = Perturbation("speed", 0.9).apply(samples, 16000)
    assert len(made) == math.ceil(16000 / 0.9) and np.abs(made - expected.numpy()).max() < 1e-5


def test_silence_and_clicks_stay():
    for samples in (np.zeros(16000, np.float32), np.ones(300, np.float32)):
        assert np.array_equal(Perturbation("pitch", 2).apply(samples, 16000), samples)


def test_draws_are_uniform_and_of_nothing_but_their_arguments():
    drawn = [draw_amount([(0.9, 1.1)], "vtlp", f"u{n}", 0) for n in range(2000)]
    assert drawn == [draw_amount([(0.9, 1.1)], "vtlp", f"u{n}", 0) for n in range(2000)]
    assert min(drawn) >= 0.9 and max(drawn) <= 1.1 and abs(np.mean(drawn) - 1) < 0.005
    signs = [draw_amount([(-2, -2), (2, 2)], "pitch", f"u{n}", 1) for n in range(2000)]
    assert set(signs) == {-2, 2} and abs(np.mean(signs)) < 0.2


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    utterances = {f"s{n // 2}-u{n}": f"s{n // 2}" for n in range(4)}
    for utterance in utterances:
        soundfile.write(tmp_path / f"{utterance}.wav", sine(500, 16000, 1).astype(np.int16), 16000)
    write_table(folder / "wav.scp", {utterance: tmp_path / f"{utterance}.wav" for utterance in utterances})
    write_table(folder / "utt2spk", utterances)
    write_table(folder / "utt2emo", dict.fromkeys(utterances, "neutral"))
    write_table(folder / "spk2utt", {"s0": "s0-u0 s0-u1", "s1": "s1-u2 s1-u3"})
    return folder


def test_copies_are_data_directories_whose_features_are_of_changed_audio(data, tmp_path, shell):
    speed, pitch = tmp_path / "speed", tmp_path / "pitch"
    for line in (f"--kind speed {data} {speed}", f"--kind pitch --factors 12 {data} {pitch}"):
        shell(f"steps/perturb_data_dir.sh {line}")
        assert "up to date" in shell(f"steps/perturb_data_dir.sh {line}").stdout
    shell(f"utils/validate_data_dir.sh --no-feats {speed} && utils/validate_data_dir.sh --no-feats {pitch}")
    assert (speed / "utt2perturb").read_text().startswith("s0-u0-sp0.9 speed 0.9\ns0-u0-sp1.1 speed 1.1\n")
    assert read_table(speed / "utt2uniq")["s1-u3-sp1.1"] == "s1-u3"
    assert read_table(speed / "utt2dur")["s0-u0-sp0.9"] == "1.11111"
    shell(f"steps/make_mfcc.sh --nj 1 --also '{speed} {pitch}' {data}")
    assert {key: value for key, value in read_table(speed / "utt2num_frames").items() if key.startswith("s0-u0")} == {
        "s0-u0-sp0.9": "111", "s0-u0-sp1.1": "91"}
    original, moved = (dict(read_arks(folder / "feats.scp")) for folder in (data, pitch))
    assert moved["s0-u0-pitch"].shape == original["s0-u0"].shape
    assert np.abs(moved["s0-u0-pitch"] - original["s0-u0"])[:, 1:].max() > 1
    said = shell(f"utils/combine_data.sh {tmp_path}/all {data} {speed}").stdout
    assert not (tmp_path / "all/wav.scp").exists() and len(read_table(tmp_path / "all/feats.scp")) == 12, said


@pytest.mark.parametrize(
    ("options", "message"),
    [("--kind speed --factors 9", "speed takes a number from 0.25 to 4, not '9'"),
     ("--kind vtlp --factors 1.1:0.9", "the lower number comes first"),
     ("--kind speed --factors 0.9:1.1", "not ranges")],
)
def test_bad_factors_are_named(data, tmp_path, shell, options, message):
    assert message in shell(f"steps/perturb_data_dir.sh {options} {data} {tmp_path}/out", ok=False).stderr
    assert not (tmp_path / "out").exists()
