"""A vocoder and speaker encoders as small as can be, with random weights, in the files of real ones."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

_PRETRAINER = "pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer\n  loadables: {%s: !ref <%s>}\n"
_VOCODER = """\
sample_rate: 16000
hop_length: 256
win_length: 1024
n_mel_channels: 80
n_fft: 1024
mel_fmin: 0.0
mel_fmax: 8000
power: 1
resblock_type: "1"
upsample_initial_channel: 16
generator: !new:speechbrain.lobes.models.HifiGAN.HifiganGenerator
  in_channels: 80
  out_channels: 1
  resblock_type: !ref <resblock_type>
  resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5]]
  resblock_kernel_sizes: [3, 7]
  upsample_kernel_sizes: [16, 16, 4, 4]
  upsample_initial_channel: !ref <upsample_initial_channel>
  upsample_factors: [8, 8, 2, 2]
modules: {generator: !ref <generator>}
""" + _PRETRAINER % ("generator", "generator")
_ECAPA = """\
n_mels: 80
compute_features: !new:speechbrain.lobes.features.Fbank
  n_mels: !ref <n_mels>
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
  norm_type: sentence
  std_norm: False
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
  input_size: !ref <n_mels>
  channels: [16, 16, 16, 16, 48]
  kernel_sizes: [5, 3, 3, 3, 1]
  dilations: [1, 2, 3, 4, 1]
  attention_channels: 8
  lin_neurons: 12
classifier: !new:torch.nn.Identity
modules:
  compute_features: !ref <compute_features>
  mean_var_norm: !ref <mean_var_norm>
  embedding_model: !ref <embedding_model>
  classifier: !ref <classifier>
""" + _PRETRAINER % ("embedding_model", "embedding_model")


def save_vocoder(folder: Path) -> Path:
    """Save a HiFi-GAN in SpeechBrain's format in a folder; return it."""
    from speechbrain.lobes.models.HifiGAN import HifiganGenerator

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    model = HifiganGenerator(80, 1, "1", [[1, 3, 5], [1, 3, 5]], [3, 7], [16, 16, 4, 4], 16, [8, 8, 2, 2])
    torch.save(model.state_dict(), folder / "generator.ckpt")
    (folder / "hyperparams.yaml").write_text(_VOCODER)
    return folder


def save_ecapa(folder: Path) -> Path:
    """Save an ECAPA-TDNN of 12 outputs in SpeechBrain's format in a folder; return it."""
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    model = ECAPA_TDNN(80, lin_neurons=12, channels=[16, 16, 16, 16, 48], attention_channels=8)
    torch.save(model.state_dict(), folder / "embedding_model.ckpt")
    (folder / "hyperparams.yaml").write_text(_ECAPA)
    return folder


def save_ge2e(folder: Path) -> Path:
    """Save a GE2E encoder of one layer and 6 outputs in a folder; return it."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    parts = nn.ModuleDict({"lstm": nn.LSTM(40, 8, 1), "linear": nn.Linear(8, 6)})
    save_file(parts.state_dict(), folder / "model.safetensors")
    return folder
