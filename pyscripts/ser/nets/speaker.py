"""Speaker encoders: a waveform to a vector of who speaks, and how; pretrained, and trained on with EmoAug's network.

ECAPA-TDNN (Desplanques et al., Interspeech 2020) is SpeechBrain's class with the weights of a folder; GE2E (Wan et al.,
ICASSP 2018) is an LSTM over pieces of 1.6 s. What they read of a waveform is computed apart from what they learn.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from ser.base.errors import SerError
from ser.base.pcm import INT16_SCALE
from ser.nets.speaker_folder import ECAPA, GE2E, RATE, speaker_files
from ser.nets.speechbrain_folder import load_state, read_hyperparams, speechbrain_class

_SIZES = {  # of SpeechBrain's published ECAPA-TDNN
    "input_size": 80, "channels": [1024] * 4 + [3072], "kernel_sizes": [5, 3, 3, 3, 1], "dilations": [1, 2, 3, 4, 1],
    "attention_channels": 128, "lin_neurons": 192,
}  # fmt: skip
_ECAPA_PIECE = 300  # frames of 10 ms that ECAPA-TDNN is trained on at a time, as its published training had
_HOP, _BANDS, _PIECE = 160, 40, 160  # of GE2E: samples, mel bands, frames; pieces overlap by half
_QUIET = 10 ** (-30 / 20)  # root mean square that quiet waveforms are raised to
_COVERED = 0.75  # share of the last piece that must be speech


class SpeakerEncoder(nn.Module):
    """A speaker encoder: what a reader makes of a waveform, to a vector.

    Attributes:
        bands: numbers of a frame.
        dim: numbers of a vector.
        piece: the most frames of an utterance that training takes.
        built_from: plain values that `build_speaker_encoder` makes the same network of.
    """

    bands: int
    dim: int
    piece: int
    built_from: dict[str, Any]

    def forward(self, frames: Tensor) -> Tensor:
        """Turn (B, T, bands) of equally long pieces, or of one utterance, into (B, dim)."""
        raise NotImplementedError


class Ecapa(SpeakerEncoder):
    """SpeechBrain's ECAPA-TDNN, `sizes` being the arguments of its constructor."""

    piece = _ECAPA_PIECE

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        self.network = speechbrain_class("models.ECAPA_TDNN", "ECAPA_TDNN")(**sizes)
        self.bands, self.dim = sizes["input_size"], sizes["lin_neurons"]
        self.built_from = {"kind": "ecapa", "sizes": sizes}

    def forward(self, frames: Tensor) -> Tensor:
        return self.network(frames)[:, 0]


class Ge2e(SpeakerEncoder):
    """An LSTM, its last state through a linear layer, and the mean over pieces, of unit length."""

    bands, piece = _BANDS, _PIECE

    def __init__(self, dim: int, width: int, layers: int) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(_BANDS, width, layers, batch_first=True), nn.Linear(width, dim)
        self.dim, self.built_from = dim, {"kind": "ge2e", "dim": dim, "width": width, "layers": layers}

    def forward(self, frames: Tensor) -> Tensor:
        step, length = _PIECE // 2, frames.shape[1] - 1
        begins = list(range(0, max(1, length - _PIECE + step), step))
        if len(begins) > 1 and length - begins[-1] < _COVERED * _PIECE:
            begins.pop()
        padded = F.pad(frames, (0, 0, 0, max(0, begins[-1] + _PIECE - frames.shape[1])))
        pieces = torch.cat([padded[:, begin : begin + _PIECE] for begin in begins])
        vectors = F.normalize(self.linear(self.lstm(pieces)[1][0][-1]).relu(), dim=1)
        return F.normalize(vectors.view(len(begins), len(frames), self.dim).mean(0), dim=1)


class SpeakerReader(nn.Module):
    """What a folder's encoder reads of a waveform: of ECAPA-TDNN filter banks, of GE2E mel bands' power.

    ECAPA-TDNN's are SpeechBrain's own, in dB, less their mean over the utterance.

    Raises:
        SerError: as `speaker_files`; or SpeechBrain is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__()
        self.kind, _ = speaker_files(folder)
        if self.kind == "ecapa":
            bands = _ecapa_sizes(Path(folder))["input_size"]
            self.features = speechbrain_class("features", "Fbank")(n_mels=bands)
        else:
            self.features = MelSpectrogram(
                RATE, 400, hop_length=_HOP, n_mels=_BANDS, pad_mode="constant", norm="slaney", mel_scale="slaney"
            )

    def forward(self, samples: Tensor) -> Tensor:
        """Turn a waveform (n,) float32 of 16 kHz at int16 scale, of 25 ms at least, into (T, bands)."""
        x = samples / INT16_SCALE
        if self.kind == "ecapa":
            features = self.features(x[None])[0]
            return features - features.mean(0)
        x = x * (_QUIET / x.square().mean().sqrt().clamp(1e-6, _QUIET))
        return self.features(x).T


def load_speaker_encoder(path: str | os.PathLike[str]) -> SpeakerEncoder:
    """Return the speaker encoder of a folder, in evaluation mode.

    Args:
        path: of ECAPA-TDNN in SpeechBrain's format (hyperparams.yaml and embedding_model.ckpt), or with the
            model.safetensors of a GE2E encoder.

    Raises:
        SerError: as `speaker_files`; or SpeechBrain is not installed, or the weights are damaged or of other sizes.
    """
    kind, _ = speaker_files(path)
    return (_load_ecapa if kind == "ecapa" else _load_ge2e)(Path(path)).eval()


def build_speaker_encoder(built_from: dict[str, Any]) -> SpeakerEncoder:
    """Return a speaker encoder with random weights, of the kind and sizes that another's `built_from` states."""
    sizes = {name: value for name, value in built_from.items() if name != "kind"}
    return (Ecapa if built_from["kind"] == "ecapa" else Ge2e)(**sizes)


def _ecapa_sizes(folder: Path) -> dict[str, Any]:
    stated = read_hyperparams(folder).get("embedding_model")
    return _SIZES | ({name: stated[name] for name in _SIZES if name in stated} if isinstance(stated, dict) else {})


def _load_ecapa(folder: Path) -> Ecapa:
    encoder = Ecapa(_ecapa_sizes(folder))
    load_state(folder / ECAPA, encoder.network)
    return encoder


def _load_ge2e(folder: Path) -> Ge2e:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(folder / GE2E)
        encoder = Ge2e(*state["linear.weight"].shape, sum(name.startswith("lstm.weight_hh") for name in state))
        encoder.load_state_dict(state)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise SerError(f"{folder / GE2E}: no GE2E speaker encoder, lstm.* and linear.* ({said}); copy it "
                       "again") from None
    return encoder
