"""Pretrained speaker encoders: a waveform to a vector of who speaks, and how.

ECAPA-TDNN (Desplanques et al., Interspeech 2020) is SpeechBrain's class with the weights of a folder; GE2E (Wan et al.,
ICASSP 2018) is an LSTM over pieces of 1.6 s. Each reads one waveform at a time, so that none depends on others.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from ser.base.errors import SerError
from ser.nets.speaker_folder import ECAPA, GE2E, RATE, speaker_files
from ser.nets.speechbrain_folder import load_state, read_hyperparams, speechbrain_class

_INT16_SCALE = 32768.0
_SIZES = {  # of SpeechBrain's published ECAPA-TDNN
    "input_size": 80, "channels": [1024] * 4 + [3072], "kernel_sizes": [5, 3, 3, 3, 1], "dilations": [1, 2, 3, 4, 1],
    "attention_channels": 128, "lin_neurons": 192,
}  # fmt: skip
_HOP, _BANDS, _PIECE = 160, 40, 160  # of GE2E: samples, mel bands, frames; pieces overlap by half
_QUIET = 10 ** (-30 / 20)  # root mean square that quiet waveforms are raised to
_COVERED = 0.75  # share of the last piece that must be speech


class SpeakerEncoder(nn.Module):
    """A speaker encoder.

    Attributes:
        dim: numbers of a vector.
    """

    dim: int

    def forward(self, samples: Tensor) -> Tensor:
        """Turn a waveform (n,) float32 of 16 kHz at int16 scale, of 25 ms at least, into a vector (dim,)."""
        raise NotImplementedError


class Ecapa(SpeakerEncoder):
    """SpeechBrain's ECAPA-TDNN on its own filter banks, less their mean over the utterance."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        stated = read_hyperparams(folder).get("embedding_model")
        stated = stated if isinstance(stated, dict) else {}
        sizes = {name: stated.get(name, _SIZES[name]) for name in _SIZES}
        self.features = speechbrain_class("features", "Fbank")(n_mels=sizes["input_size"])
        self.network = speechbrain_class("models.ECAPA_TDNN", "ECAPA_TDNN")(**sizes)
        load_state(folder / ECAPA, self.network)
        self.dim = sizes["lin_neurons"]

    def forward(self, samples: Tensor) -> Tensor:
        features = self.features(samples[None] / _INT16_SCALE)
        return self.network(features - features.mean(1, keepdim=True))[0, 0]


class Ge2e(SpeakerEncoder):
    """An LSTM on mel bands' power, its last state through a linear layer, and the mean over pieces, of unit length."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(folder / GE2E)
            self.dim, width = state["linear.weight"].shape
            layers = sum(name.startswith("lstm.weight_hh") for name in state)
            self.lstm, self.linear = nn.LSTM(_BANDS, width, layers, batch_first=True), nn.Linear(width, self.dim)
            self.load_state_dict(state)
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            said = " ".join(str(error).split())[:200]
            raise SerError(f"{folder / GE2E}: no GE2E speaker encoder, lstm.* and linear.* ({said}); copy it "
                           "again") from None
        self.mel = MelSpectrogram(
            RATE, 400, hop_length=_HOP, n_mels=_BANDS, pad_mode="constant", norm="slaney", mel_scale="slaney"
        )

    def forward(self, samples: Tensor) -> Tensor:
        x = samples / _INT16_SCALE
        x = x * (_QUIET / x.square().mean().sqrt().clamp(1e-6, _QUIET))
        step, length = _PIECE // 2 * _HOP, _PIECE * _HOP
        begins = list(range(0, max(1, len(x) - length + step), step))
        if len(begins) > 1 and len(x) - begins[-1] < _COVERED * length:
            begins.pop()
        frames = self.mel(F.pad(x, (0, max(0, begins[-1] + length - len(x))))).T
        pieces = torch.stack([frames[begin // _HOP : begin // _HOP + _PIECE] for begin in begins])
        vectors = F.normalize(self.linear(self.lstm(pieces)[1][0][-1]).relu(), dim=1)
        return F.normalize(vectors.mean(0), dim=0)


def load_speaker_encoder(path: str | os.PathLike[str]) -> SpeakerEncoder:
    """Return the speaker encoder of a folder, in evaluation mode.

    Args:
        path: of ECAPA-TDNN in SpeechBrain's format (hyperparams.yaml and embedding_model.ckpt), or with the
            model.safetensors of a GE2E encoder.

    Raises:
        SerError: as `speaker_files`; or SpeechBrain is not installed, or the weights are damaged or of other sizes.
    """
    kind, _ = speaker_files(path)
    return (Ecapa if kind == "ecapa" else Ge2e)(Path(path)).eval()
