"""Spectrogram images against librosa, matplotlib and Pillow, and the step that makes them of a data directory."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ser.base.kaldi_tables import read_table, write_table
from ser.data.arks import read_arks
from ser.data.datadir import spk2utt, validate
from ser.features.frontend import read_conf
from ser.features.noise import NoiseReader, mix, read_utt2noise
from ser.features.packed import Pack, pack
from ser.features.perturb import Perturbation
from ser.features.spectrogram import Spectrogram, SpectrogramOptions
from ser.features.store import FeatureStore
from ser.nets.colours import coloured, normalised_palette, palette

ROOT = Path(__file__).resolve().parents[2]
RATE = 16000


def speech(shared: Path, count: int = 8) -> list[np.ndarray]:
    """The first whole seconds of real recordings, from -1 to 1."""
    files = sorted((shared / "kaldi_reference" / "wav16k").glob("*.wav"))[:count]
    return [soundfile.read(file, dtype="float32")[0][:RATE] for file in files]


def test_the_default_options_are_those_of_the_file() -> None:
    assert read_conf(ROOT / "conf" / "spectrogram.conf", SpectrogramOptions) == SpectrogramOptions()


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
def test_images_are_those_of_librosa_and_matplotlib(shared: Path, pad_mode: str) -> None:
    librosa = pytest.importorskip("librosa", reason="librosa is not installed")
    from matplotlib.cm import ScalarMappable

    differing = points = 0
    for block in speech(shared):
        y = block / np.abs(block).max()
        spectrum = librosa.stft(y, n_fft=512, hop_length=62, win_length=256, window="hamming", pad_mode=pad_mode)
        decibels = librosa.power_to_db(np.abs(spectrum) ** 2, ref=np.max)
        mapped = ScalarMappable(cmap="jet")
        mapped.set_clim(decibels.min(), decibels.max())
        theirs = mapped.to_rgba(decibels[::-1], bytes=True)[..., :3]
        ours = Spectrogram(SpectrogramOptions(pad_mode=pad_mode))(block * 32768).T
        assert ours.shape == (257, 259)
        levels = np.minimum((256 * mapped.norm(decibels[::-1])).astype(int), 255)  # what the map looks up
        assert np.abs(levels - ours).max() <= 1
        differing += int((palette()[ours] != theirs).any(-1).sum())
        points += ours.size
    assert differing <= 1e-4 * points


def test_an_image_from_first_principles() -> None:
    """A sine of 2 kHz: by NumPy's own Fourier transform, in decibels, on 256 levels."""
    samples = np.sin(2 * np.pi * 2000 * np.arange(RATE) / RATE).astype(np.float32) * 1000
    window = np.zeros(512)
    window[128:384] = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(256) / 256)
    padded = np.pad(samples / np.abs(samples).max(), 256, mode="reflect").astype(np.float64)
    frames = np.stack([padded[62 * t : 62 * t + 512] * window for t in range(259)], 1)
    decibels = 10 * np.log10(np.maximum(np.abs(np.fft.rfft(frames, axis=0)) ** 2, 1e-10))
    decibels = np.maximum(decibels, decibels.max() - 80)
    scaled = (decibels - decibels.min()) / (decibels.max() - decibels.min())
    expected = np.minimum(256 * scaled, 255).astype(int)[::-1]
    ours = Spectrogram(SpectrogramOptions())(samples).T
    assert (np.abs(ours - expected.astype(int)) <= 1).all() and (ours != expected).mean() < 1e-3
    assert ours[:, 100].argmax() == 256 - 2000 * 512 // RATE


def test_gain_changes_nothing_and_silence_is_one_colour(shared: Path) -> None:
    spectrogram = Spectrogram(SpectrogramOptions())
    block = speech(shared, 1)[0]
    assert np.array_equal(spectrogram(block), spectrogram(block * 1024))
    for gain in (0.01, 3.7, 123.4):  # rounded otherwise, so that a value between two colours may be the other one
        assert (spectrogram(block) != spectrogram(block * np.float32(gain))).mean() < 1e-4
    assert not spectrogram(np.zeros(RATE, np.float32)).any()
    assert np.array_equal(spectrogram(block[:9000]), spectrogram(np.pad(block[:9000], (0, 7000))))


def test_other_options_show_other_images(shared: Path) -> None:
    block = speech(shared, 1)[0]
    default = Spectrogram(SpectrogramOptions())(block)
    assert np.array_equal(Spectrogram(SpectrogramOptions(origin="upper"))(block), default[:, ::-1])
    assert np.array_equal(Spectrogram(SpectrogramOptions(resize="crop"))(block), default[:256, 1:])
    wide = Spectrogram(SpectrogramOptions(range="-160,0"))(block)
    assert wide.max() == 255 and 126 <= wide.min() <= 129, "80 dB are the upper half of 160"
    linear = Spectrogram(SpectrogramOptions(scale="linear"))(block)
    assert linear.mean() < 10 < default.mean(), "power is mostly small"
    for wrong in ({"range": "0,-80"}, {"range": "all"}, {"range": "0,80"}, {"range": "-inf,0"}, {"pad_mode": "wrap"},
                  {"hop": 0}, {"frame_length": 40.0}, {"block_length": math.inf}):
        with pytest.raises(ValueError, match="--"):
            SpectrogramOptions(**wrong)


def test_resized_images_are_pillows(shared: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    indices = np.stack([Spectrogram(SpectrogramOptions())(block).T for block in speech(shared, 4)])
    ours = coloured(torch.from_numpy(indices), torch.from_numpy(palette()).float() / 255)
    assert ours.shape == (4, 3, 256, 256)
    for picture, resized in zip(indices, ours, strict=True):
        theirs = image.fromarray(palette()[picture]).resize((256, 256), image.Resampling.BILINEAR)
        assert np.abs(np.asarray(theirs).transpose(2, 0, 1) / 255 - resized.numpy()).max() < 1 / 255 + 1e-6
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = coloured(torch.from_numpy(indices), normalised_palette())
    assert torch.allclose(normalised, (ours - mean[:, None, None]) / deviation[:, None, None], atol=1e-5)


@pytest.fixture(scope="module")
def blocks(shared: Path, tmp_path_factory, shell) -> Path:
    """Blocks of real speech and one of digital silence, and a copy of them with noise at 15 dB."""
    folder = tmp_path_factory.mktemp("blocks")
    recordings = {f"s{n % 2}-u{n}": file for n, file in
                  enumerate(sorted((shared / "kaldi_reference" / "wav16k").glob("*.wav"))[:4])}
    soundfile.write(folder / "silence.wav", np.zeros(RATE + 100), RATE)
    recordings["s1-u9"] = folder / "silence.wav"
    utt2spk = {name: name[:2] for name in sorted(recordings)}
    (folder / "all").mkdir()
    for name, table in {"wav.scp": recordings, "utt2spk": utt2spk, "spk2utt": spk2utt(utt2spk),
                        "utt2emo": dict.fromkeys(utt2spk, "sad")}.items():
        write_table(folder / "all" / name, table)
    (folder / "noise.scp").write_text(f"n1 {shared / 'kaldi_reference' / 'noise8k.wav'}\n")
    shell(f"subsegment_data_dir.sh {folder}/all {folder}/all_1s 2>/dev/null && utils/subsegment_data_dir.sh "
          f"--remainder pad {folder}/all {folder}/pad && augment_data_dir.sh --snr 15 {folder}/all_1s "
          f"{folder}/noise.scp {folder}/noisy_1s")
    return folder


def test_the_step_makes_images_that_kaldi_and_training_read(blocks: Path, shell, tmp_path: Path) -> None:
    step = (f"make_spectrogram.sh --nj 2 --also '{blocks}/noisy_1s={tmp_path}/noisy' {blocks}/all_1s "
            f"{tmp_path}/images && pyscripts/write_png.py {tmp_path}/images {tmp_path}/png")
    said = shell(step).stdout
    assert "1 blocks of digital silence" in said and "too short" not in said
    tables = validate(tmp_path / "images", need=("feats.scp", "utt2emo", "utt2num_frames"))
    assert set(tables["utt2num_frames"].values()) == {"259"} and "segments" in tables
    images = dict(read_arks(tmp_path / "images" / "feats.scp"))
    assert images.keys() == tables["utt2spk"].keys()
    ark = tables["feats.scp"]["s0-u0-00000000-00000100"]
    assert b"\0BCM3 " in Path(ark.rpartition(":")[0]).read_bytes()[:40]
    spectrogram = Spectrogram(SpectrogramOptions())
    samples, _ = soundfile.read(read_table(blocks / "all" / "wav.scp")["s0-u0"], dtype="float32", stop=RATE)
    expected = spectrogram(samples)
    assert np.array_equal(images["s0-u0-00000000-00000100"], expected)

    spec = read_utt2noise(blocks / "noisy_1s" / "utt2noise")["s0-u0-00000000-00000100"]
    noise = NoiseReader(RATE).read(spec, RATE)
    mixed = mix(samples * 32768, noise, spec.snr)
    noisy = dict(read_arks(tmp_path / "noisy" / "feats.scp"))
    assert np.array_equal(noisy["s0-u0-00000000-00000100"], spectrogram(mixed))
    scaled = mixed / np.abs(mixed).max()
    share = scaled @ samples / (samples @ samples)  # what is left of the speech, if the noise is unlike it
    rest = scaled - share * samples
    assert spec.snr == 15 and 10 * np.log10(share**2 * (samples @ samples) / (rest @ rest)) == pytest.approx(15, abs=1)

    png = tmp_path / "png" / "s0-u0-00000000-00000100.png"
    from matplotlib.image import imread

    assert np.array_equal((imread(png)[..., :3] * 255).round().astype(np.uint8), palette()[expected.T])
    changed = png.stat().st_mtime_ns
    assert "spectrogram images up to date" in shell(step).stdout
    assert png.stat().st_mtime_ns == changed

    pack([tmp_path / "images"], tmp_path / "packed", "uint8")
    assert Pack(tmp_path / "packed").frames.dtype == np.uint8
    for data in ("images", "packed"):
        store = FeatureStore.load([tmp_path / data], torch.device("cpu"), "uint8")
        rows, lengths = store.whole(np.arange(2))
        assert store.frames.dtype == torch.uint8 and lengths.tolist() == [259, 259]
        assert np.array_equal(rows[:259].numpy(), expected)


def test_of_a_block_that_a_speed_makes_longer_the_beginning_is_shown(blocks: Path, shell, tmp_path: Path) -> None:
    said = shell(f"perturb_data_dir.sh --kind speed {blocks}/all_1s {tmp_path}/speed && make_spectrogram.sh --nj 1 "
                 f"{tmp_path}/speed {tmp_path}/images").stdout
    images = dict(read_arks(tmp_path / "images" / "feats.scp"))
    assert images.keys() == read_table(tmp_path / "speed" / "utt2spk").keys()
    assert f"{len(images) // 2} blocks too short" in said, "those at 1.1 times the rate"
    samples, _ = soundfile.read(read_table(blocks / "all" / "wav.scp")["s0-u0"], dtype="int16", stop=RATE)
    slow = Perturbation("speed", 0.9).apply(samples.astype(np.float32), RATE)
    shown = Spectrogram(SpectrogramOptions())(slow[:RATE])
    assert len(slow) > 1.1 * RATE and np.array_equal(images["s0-u0-00000000-00000100-sp0.9"], shown)


def test_blocks_that_do_not_fit_are_padded_or_dropped(blocks: Path, shell, tmp_path: Path) -> None:
    said = shell(f"make_spectrogram.sh --nj 1 {blocks}/pad {tmp_path}/padded").stdout
    assert "blocks too short, which end in silence" in said
    assert set(read_table(tmp_path / "padded" / "utt2num_frames").values()) == {"259"}
    said = shell(f"make_spectrogram.sh --nj 1 {blocks}/all {tmp_path}/whole", ok=False).stderr
    assert "and an image shows 1 s; cut it (utils/subsegment_data_dir.sh)" in said
    assert "need a directory of their own" in shell(f"make_spectrogram.sh {blocks}/pad {blocks}/pad", ok=False).stderr
