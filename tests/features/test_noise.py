"""Noise: the mix against Kaldi's and against the definition of SNR, looping, drawing, bad files."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser.base.errors import SerError
from ser.features.noise import NoiseReader, NoiseSpec, draw_condition, draw_noise, mix, read_noise_list, read_utt2noise

RATE = 8000


def power_db(samples: np.ndarray) -> float:
    return 10 * math.log10(np.mean(samples.astype(np.float64) ** 2))


def write(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "FLOAT") -> str:
    """Write samples of int16 scale."""
    soundfile.write(path, np.asarray(samples, dtype=np.float64) / 32768, rate, subtype=subtype)
    return str(path)


def vectors(size: int = 12345) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    return (
        generator.normal(0, 900, size).astype(np.float32),
        generator.normal(0, 77, size).astype(np.float32),
    )


@pytest.mark.parametrize("snr", [10, 5, 0, -7.5])
def test_snr_is_exact_and_level_is_kept(snr: float) -> None:
    speech, noise = vectors()
    mixed = mix(speech, noise, snr).astype(np.float64)
    # Least squares takes the mix apart again into its two parts, without knowing any gain.
    parts = np.stack([speech, noise], axis=1).astype(np.float64)
    gains, residual, *_ = np.linalg.lstsq(parts, mixed, rcond=None)
    assert math.sqrt(residual[0] / len(mixed)) < 1e-3
    assert power_db(gains[0] * speech) - power_db(gains[1] * noise) == pytest.approx(snr, abs=1e-4)
    assert power_db(mixed) == pytest.approx(power_db(speech), abs=1e-4)


@pytest.mark.parametrize("snr", [10, 5, 0])
def test_mix_is_kaldis(shared: Path, snr: int) -> None:
    reference = shared / "kaldi_reference"
    noise = NoiseReader(RATE)
    mixes = sorted((reference / "noisy8k").glob(f"*_snr{snr}.wav"))
    assert len(mixes) == 4
    for path in mixes:
        kaldi, _ = soundfile.read(path, dtype="int16")
        clean, _ = soundfile.read(reference / "wav8k" / path.name.replace(f"_snr{snr}", ""), dtype="int16")
        spec = NoiseSpec(snr, 0, str(reference / "noise8k.wav"))
        ours = mix(clean.astype(np.float32), noise.read(spec, len(clean)), snr)
        assert np.abs(np.rint(ours) - kaldi).max() <= 1


def test_silent_speech_stays_as_it_is_and_silent_noise_is_refused() -> None:
    speech, noise = vectors(100)
    silence = np.zeros(100, np.float32)
    assert np.array_equal(mix(silence, noise, 10), silence)
    with pytest.raises(SerError, match="silent"):
        mix(speech, silence, 10)
    with pytest.raises(ValueError):
        mix(speech, noise[:-1], 10)


# 0.1 s and 20 s: files that are kept in memory, and files that are read piece by piece, must not differ.
@pytest.mark.parametrize("frames", [800, 160_000])
@pytest.mark.parametrize("back_from_end", [1, 300, 800])
def test_noise_goes_round_at_the_end(tmp_path: Path, frames: int, back_from_end: int) -> None:
    samples = np.arange(1, frames + 1, dtype=np.float64) % 30000
    path = write(tmp_path / "ramp.wav", samples)
    for num_samples in (1, back_from_end, back_from_end + 1, frames, 2 * frames + 17):
        piece = NoiseReader(RATE).read(NoiseSpec(10, frames - back_from_end, path), num_samples)
        expected = np.roll(samples, back_from_end)[np.arange(num_samples) % frames]
        np.testing.assert_array_equal(piece, expected)


def test_noise_at_another_rate_and_in_stereo(tmp_path: Path) -> None:
    """A 500 Hz tone in 44.1 kHz stereo comes out as the same tone at 8 kHz, from the sample asked for."""
    time = np.arange(44100) / 44100
    tone = 1000 * np.sin(2 * np.pi * 500 * time)
    path = write(tmp_path / "tone.wav", np.stack([2 * tone, np.zeros_like(tone)], axis=1), rate=44100)
    piece = NoiseReader(RATE).read(NoiseSpec(0, 4410, path), 12000)
    expected = 1000 * np.sin(2 * np.pi * 500 * (np.arange(12000) / RATE + 0.1))
    assert piece.dtype == np.float32 and piece.shape == (12000,)
    np.testing.assert_allclose(piece[50:-50], expected[50:-50], atol=10)


def noises(tmp_path: Path, count: int = 7) -> dict[str, str]:
    generator = np.random.default_rng(0)
    return {
        f"n{i}": write(tmp_path / f"n{i}.wav", generator.normal(0, 100, 4000 * (i + 1)), subtype="PCM_16")
        for i in range(count)
    }


def test_draw_is_a_function_of_its_arguments(tmp_path: Path) -> None:
    files = noises(tmp_path)
    draw = draw_noise(files, "utt", 0.7, 10, "noise_train", 0)
    assert draw == draw_noise(dict(reversed(files.items())), "utt", 0.7, 10, "noise_train", 0)
    others = [
        draw_noise(files, "utu", 0.7, 10, "noise_train", 0),
        draw_noise(files, "utt", 0.7, 5, "noise_train", 0),
        draw_noise(files, "utt", 0.7, 10, "music_train", 0),
        draw_noise(files, "utt", 0.7, 10, "noise_train", 1),
    ]
    assert len({draw.first_sample, *(other.first_sample for other in others)}) == 5


def test_draws_stay_what_they_were(tmp_path: Path) -> None:
    """Copies made by an earlier version are made again the same."""
    files = noises(tmp_path)
    for arguments, first, name in (
        (("utt", 0.7, 10.0, "noise_train", 0), 5762, "n3.wav"),
        (("s1-u0", 1.5, 0.0, "music_train", 3), 3251, "n3.wav"),
        (("x", 0.2, -2.5, "noise_test", 1), 6036, "n3.wav"),
    ):
        assert draw_noise(files, *arguments) == NoiseSpec(arguments[2], first, str(tmp_path / name))


def test_kind_and_snr_are_drawn_evenly_and_apart() -> None:
    drawn = [draw_condition(["noise", "music"], [10, 5, 0], f"utt{number}", 0) for number in range(1200)]
    counts = Counter(drawn)
    assert counts.keys() == {(kind, snr) for kind in ("noise", "music") for snr in (10, 5, 0)}
    assert all(150 < count < 250 for count in counts.values())  # 200 expected, standard deviation 13
    assert drawn[:50] == [draw_condition(["music", "noise"], [0, 10, 5], f"utt{number}", 0) for number in range(50)]
    assert drawn[:50] != [draw_condition(["noise", "music"], [10, 5, 0], f"utt{number}", 1) for number in range(50)]
    assert draw_condition(["noise"], [5.0], "utt", 7) == ("noise", 5.0)


def test_draws_cover_the_files_and_cut_without_going_round_where_that_can_be(tmp_path: Path) -> None:
    files = noises(tmp_path)
    draws = [draw_noise(files, f"utt{i}", 1.5, 0, "x", 0) for i in range(700)]
    for number, path in enumerate(files.values()):
        frames = 4000 * (number + 1)
        firsts = [draw.first_sample for draw in draws if draw.path == path]
        assert 60 < len(firsts) < 140  # 100 expected, standard deviation 9
        last = frames - 12000 if frames >= 12000 else frames - 1
        assert min(firsts) >= 0 and max(firsts) <= last
        assert max(firsts) - min(firsts) >= 0.8 * last


def test_draw_steps_over_digital_silence(tmp_path: Path) -> None:
    samples = np.zeros(30 * RATE)
    samples[200_000:200_100] = 5
    files = {"n": write(tmp_path / "n.wav", samples, subtype="PCM_16")}
    for number in range(20):
        draw = draw_noise(files, f"u{number}", 0.5, 10, "x", 0)
        assert NoiseReader(RATE).read(draw, RATE // 2).any()
        if not 196_000 < draw.first_sample < 200_100:
            pytest.fail(f"begins at {draw.first_sample}")
    silent = {"n": write(tmp_path / "silent.wav", np.zeros(30 * RATE))}
    with pytest.raises(SerError, match=r"silent\.wav: is silent throughout"):
        draw_noise(silent, "u", 0.5, 10, "x", 0)


def test_bad_noise_files_are_named(tmp_path: Path) -> None:
    samples = np.full(1000, 3.0)
    samples[500] = np.nan
    (tmp_path / "text.wav").write_text("this is no audio\n")
    bad = {
        str(tmp_path / "absent.wav"): "no such file",
        str(tmp_path / "text.wav"): "not a readable audio file",
        write(tmp_path / "empty.wav", np.zeros(0)): "holds no samples",
        write(tmp_path / "nan.wav", samples): "NaN",
        write(tmp_path / "short.wav", np.ones(10)): "has 10 samples",
        write(tmp_path / "zero.wav", np.zeros(100)): "silent",
    }
    for path, message in bad.items():
        with pytest.raises(SerError, match=message) as caught:
            NoiseReader(RATE).read(NoiseSpec(10, 50, path), 100)
        assert str(caught.value).startswith(path)
    noise_list = tmp_path / "list.scp"
    noise_list.write_text(f"a {tmp_path / 'short.wav'}\nb {tmp_path / 'text.wav'}\n")
    with pytest.raises(SerError, match=r"text\.wav"):
        read_noise_list(noise_list)
    noise_list.write_text("")
    with pytest.raises(SerError, match=r"list\.scp: is empty"):
        read_noise_list(noise_list)


def test_utt2noise_is_read_back_and_its_faults_are_named(tmp_path: Path) -> None:
    table = tmp_path / "utt2noise"
    spec = NoiseSpec(-2.5, 7, "/music of mine/a b.wav")
    table.write_text(f"u1 10 0 n.wav\nu2 {spec}\n")
    assert read_utt2noise(table) == {"u1": NoiseSpec(10, 0, "n.wav"), "u2": spec}
    for line in ("u1 ten 0 n.wav", "u1 nan 0 n.wav", "u1 inf 0 n.wav", "u1 10 -1 n.wav", "u1 10 1.5 n.wav", "u1 10 3"):
        table.write_text(line + "\n")
        with pytest.raises(SerError, match="utt2noise: u1"):
            read_utt2noise(table)
