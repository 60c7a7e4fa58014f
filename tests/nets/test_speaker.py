"""Speaker encoders: SpeechBrain's own answers, GE2E's from its parts, bad folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from torchaudio.transforms import MelSpectrogram

pytest.importorskip("speechbrain", reason="SpeechBrain is not installed (requirements-dev.txt)")

from speechbrain.inference.classifiers import EncoderClassifier
from tiny_synthesis import save_ecapa, save_ge2e

from ser.base.errors import SerError
from ser.nets.speaker import SpeakerReader, build_speaker_encoder, load_speaker_encoder
from ser.nets.speaker_folder import describe


@pytest.fixture
def samples() -> torch.Tensor:
    return 3000 * torch.randn(40_000, generator=torch.Generator().manual_seed(0))


def heard(folder: Path, samples: torch.Tensor) -> torch.Tensor:
    return load_speaker_encoder(folder)(SpeakerReader(folder)(samples)[None])[0]


def test_ecapa_gives_what_speechbrain_gives(tmp_path: Path, samples: torch.Tensor) -> None:
    folder = save_ecapa(tmp_path / "ecapa")
    encoder = load_speaker_encoder(folder)
    with torch.inference_mode():
        made = heard(folder, samples)
    theirs = EncoderClassifier.from_hparams(source=str(folder), savedir=str(tmp_path / "saved"))
    assert made.shape == (encoder.dim,) == (12,)
    assert torch.allclose(made, theirs.encode_batch(samples / 32768)[0, 0], atol=1e-5)
    assert describe(folder).startswith("--speaker-encoder=ecapa-")


def test_ge2e_is_the_mean_over_pieces(tmp_path: Path, samples: torch.Tensor) -> None:
    folder = save_ge2e(tmp_path / "ge2e")
    state = load_file(folder / "model.safetensors")
    lstm, linear = nn.LSTM(40, 8), nn.Linear(8, 6)
    nn.ModuleDict({"lstm": lstm, "linear": linear}).load_state_dict(state)
    mel = MelSpectrogram(16000, 400, hop_length=160, n_mels=40, norm="slaney", mel_scale="slaney", pad_mode="constant")
    with torch.no_grad():
        made = heard(folder, samples)
        frames = mel(samples / 32768)
        parts = [linear(lstm(frames[:, begin : begin + 160].T)[0][-1]).relu() for begin in (0, 80)]
        assert torch.allclose(made, F.normalize(sum(F.normalize(part, dim=0) for part in parts), dim=0), atol=1e-5)
        quiet = [heard(folder, samples / part) for part in (100, 1000)]
        assert torch.allclose(*quiet, atol=1e-5), "quiet audio is made louder"
        assert heard(folder, samples[:2000]).norm() == pytest.approx(1)
    assert describe(folder).startswith("--speaker-encoder=ge2e-")


@pytest.mark.parametrize("save", [save_ecapa, save_ge2e])
def test_one_is_built_again_of_what_it_was_built_from(tmp_path: Path, samples: torch.Tensor, save) -> None:
    encoder = load_speaker_encoder(save(tmp_path / "folder"))
    other = build_speaker_encoder(encoder.built_from).eval()
    other.load_state_dict(encoder.state_dict())
    pieces = SpeakerReader(tmp_path / "folder")(samples)[:200].reshape(2, 100, -1)
    with torch.inference_mode():
        assert torch.equal(encoder(pieces), other(pieces))
        assert torch.allclose(encoder(pieces)[1], encoder(pieces[1:])[0], atol=1e-5), "of its own piece alone"


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(SerError, match="no folder of a speaker encoder"):
        load_speaker_encoder(tmp_path)
    folder = save_ge2e(tmp_path / "ge2e")
    save_file({"lstm.weight_hh_l0": torch.ones(3, 3)}, folder / "model.safetensors")
    with pytest.raises(SerError, match=r"model.safetensors: no GE2E speaker encoder"):
        load_speaker_encoder(folder)
    folder = save_ecapa(tmp_path / "ecapa")
    (folder / "embedding_model.ckpt").write_bytes(b"")
    with pytest.raises(SerError, match=r"embedding_model.ckpt: no state dict"):
        load_speaker_encoder(folder)
    (folder / "hyperparams.yaml").unlink()
    with pytest.raises(SerError, match=r"hyperparams.yaml: no such file"):
        load_speaker_encoder(folder)
