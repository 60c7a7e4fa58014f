"""WORLD's features: F0 and envelope of made speech survive the way there and back; the wavelets are convolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyworld", reason="pyworld is not installed (requirements-synthesis.txt)")

from tiny_recordings import write_recordings

from ser.base.kaldi_tables import read_table
from ser.data.arks import read_arks
from ser.features.directories import front_end
from ser.features.world import RATE, analyse, synthesise, wavelet_components
from ser.nets.world_columns import COLUMNS, CONTOUR, LEVEL, VOICED


def voiced_sound(seconds: float, low: float = 120.0, high: float = 180.0) -> tuple[np.ndarray, np.ndarray]:
    """Return 40 harmonics of an F0 that rises and falls twice a second, in noise, at int16 scale, and that F0 in Hz."""
    times = np.arange(round(seconds * RATE)) / RATE
    f0 = low + (high - low) * (0.5 - 0.5 * np.cos(4 * np.pi * times))
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    sound = 3000 * sum(np.sin(k * phase) / k for k in range(1, 41))
    return (sound + 30 * np.random.default_rng(0).standard_normal(len(times))).astype(np.float32), f0


def test_speech_that_is_made_of_its_features_has_the_same_f0_and_envelope() -> None:
    samples, f0 = voiced_sound(1.5)
    rows = analyse(samples)
    assert rows.shape == (1 + len(samples) // 80, COLUMNS) and rows.dtype == np.float32
    found = np.exp(rows[:, CONTOUR].sum(1) + rows[:, LEVEL])
    inner, true = slice(10, -10), f0[::80][: len(rows) - 1]
    assert np.abs(1200 * np.log2(found[:-1] / true)[inner]).max() < 10, "cents"
    assert rows[inner, VOICED].all()
    again = analyse(synthesise(rows) * 32768)
    kept = np.exp(again[: len(rows), CONTOUR].sum(1) + again[: len(rows), LEVEL])
    assert np.abs(1200 * np.log2(kept / found)[inner]).max() < 15
    assert np.abs(again[: len(rows), :12] - rows[:, :12])[inner].mean() < 0.3


def test_ten_components_and_what_they_leave_are_the_contour() -> None:
    times = np.arange(400) * 0.005
    values = 5 + 0.2 * np.cos(np.pi * times) + 0.1 * np.cos(2 * np.pi * times)
    parts = wavelet_components(values)
    assert parts.shape == (400, 10)
    assert np.abs(parts.sum(1) - (values - values.mean())).max() < 0.01 * 0.3, "within 1 % up to 1 Hz"
    for number, scale in enumerate((4, 8, 16)):
        distance = np.arange(-8 * scale, 8 * scale + 1) / scale
        hat = (1 - distance**2) * np.exp(-(distance**2) / 2) * np.log(2) / (np.sqrt(2 * np.pi) * scale)
        expected = np.convolve(values, hat, "same")
        assert np.abs(parts[:, number] - expected)[130:-130].max() < 1e-4


def test_a_directory_gets_its_features_and_loses_what_has_no_voice(tmp_path: Path, shell) -> None:
    sounds = [voiced_sound(0.5, 110 + 20 * number)[0].astype(np.int16) for number in range(5)]
    sounds.append((20 * np.random.default_rng(0).standard_normal(8000)).astype(np.int16))
    data = write_recordings(tmp_path, sounds, ("neutral", "angry"))
    said = shell(f"steps/make_world.sh --nj 2 --max-drop 0.2 {data}").stdout
    assert "5 utterances" in said and "s2-u5" not in read_table(data / "utt2spk")
    assert "has no voiced frame" in (data / "log/make_world_data.dropped").read_text()
    rows = dict(read_arks(data / "feats.scp"))
    assert rows["s0-u0"].shape == (int(read_table(data / "utt2num_frames")["s0-u0"]), COLUMNS)
    assert np.array_equal(rows["s0-u0"], analyse(sounds[0].astype(np.float32)))
    assert "--mel-cepstrum=36" in front_end([data])
    assert "WORLD features up to date" in shell(f"steps/make_world.sh {data}").stdout
    shell(f"utils/validate_data_dir.sh {data}")
