"""Vocoders: SpeechBrain's own answers, Griffin and Lim's spectrogram, bad folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("speechbrain", reason="SpeechBrain is not installed (requirements-dev.txt)")

from speechbrain.inference.vocoders import HIFIGAN
from tiny_synthesis import save_vocoder

from ser.base.errors import SerError
from ser.features.mel import LogMel
from ser.nets.vocoder import load_vocoder
from ser.nets.vocoder_folder import MelOptions, read_vocoder_folder


def test_a_folder_gives_what_speechbrain_gives(tmp_path: Path) -> None:
    folder = save_vocoder(tmp_path / "vocoder")
    found = read_vocoder_folder(folder)
    assert found.mel == MelOptions()
    mel = torch.randn(37, 80, generator=torch.Generator().manual_seed(0))
    made = load_vocoder(found, found.mel)(mel)
    theirs = HIFIGAN.from_hparams(source=str(folder), savedir=str(tmp_path / "saved")).decode_batch(mel.T[None])[0, 0]
    assert made.shape == (37 * 256,) and made.std() > 0
    assert torch.equal(made, theirs[5 * 256 : -5 * 256]), "all but what stands for frames before and after"


def test_griffin_and_lim_sound_as_the_spectrogram_says() -> None:
    time = np.arange(16000) / 16000
    samples = sum(4000 * np.sin(2 * np.pi * f * time + np.sin(9 * time)) / k for k, f in enumerate((210, 420, 1700), 1))
    options = MelOptions()
    mel = LogMel(options)(samples.astype(np.float32))
    made = load_vocoder(None, options)(torch.from_numpy(mel)).numpy()
    assert np.abs(made).max() <= 1 and len(made) == len(mel) * 256
    again = LogMel(options)(32768 * made)[: len(mel)]
    loud = mel > mel.max() - 4
    assert np.abs(again - mel)[loud].mean() < 0.35, "in nepers"


@pytest.mark.parametrize(("old", "new", "said"), [
    ("power: 1\n", "power: 2\n", "power is 2; vocoders are those of 1"),
    ("hop_length: 256", "hop_length: 200", "whose product is not hop_length, 200"),
    ("n_fft: 1024", "n_fft: no", "n_fft is False, no number"),
    ("sample_rate", "\tsample_rate", "not YAML"),
])  # fmt: skip
def test_a_wrong_folder_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    folder = save_vocoder(tmp_path / "vocoder")
    path = folder / "hyperparams.yaml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SerError, match=rf"hyperparams.yaml: .*{said}"):
        read_vocoder_folder(folder)


def test_wrong_weights_are_named_and_never_run(tmp_path: Path) -> None:
    folder = save_vocoder(tmp_path / "vocoder")
    path, marked = folder / "hyperparams.yaml", tmp_path / "was_run"
    path.write_text(path.read_text() + f"bad: !apply:os.mkdir [{marked}]\n")
    load_vocoder(read_vocoder_folder(folder), MelOptions())
    assert not marked.exists(), "the YAML's constructors are not called"
    path.write_text(path.read_text().replace("upsample_initial_channel: 16", "upsample_initial_channel: 32"))
    with pytest.raises(SerError, match=r"generator.ckpt: its tensors are not those"):
        load_vocoder(read_vocoder_folder(folder), MelOptions())
    (folder / "generator.ckpt").write_bytes((folder / "generator.ckpt").read_bytes()[:3000])
    with pytest.raises(SerError, match=r"generator.ckpt: .*copy the"):
        load_vocoder(read_vocoder_folder(folder), MelOptions())
    torch.save({"a": Path("x")}, folder / "generator.ckpt")
    with pytest.raises(SerError, match=r"generator.ckpt: no state dict of tensors alone"):
        load_vocoder(read_vocoder_folder(folder), MelOptions())
    with pytest.raises(SerError, match="no such folder of a vocoder"):
        read_vocoder_folder(tmp_path / "none")


def test_griffin_and_lim_take_a_few_frames() -> None:
    vocoder = load_vocoder(None, MelOptions())
    assert [len(vocoder(torch.full((frames, 80), -3.0))) for frames in (1, 2, 9)] == [256, 512, 2304]
