"""Pretrained speech encoders: waveforms to hidden states, the same whatever they are batched with.

The networks and their weights are transformers'; what is done here is the way in, so that padding touches nothing:
group norms over time, convolutions with padding and attention see real samples and frames only.
"""

from __future__ import annotations

import os
import pickle
import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from ser.base.errors import SerError
from ser.base.pcm import INT16_SCALE
from ser.nets.encoder_folder import ALL, RATE, EncoderConfig, read_encoder_folder

_NOT_NEEDED = ("masked_spec_embed", "decoder.")  # parameters that a folder may lack


def load_encoder(path: str | os.PathLike[str], layer: int | str | None = None) -> Encoder:
    """Return the encoder of a folder in evaluation mode, cut off after a layer.

    Weights are safetensors, or pickles of tensors alone; code in the folder is never run.

    Args:
        path: a folder that transformers' `AutoModel` reads.
        layer: number of the layer whose hidden states are wanted, from 1; None is the last one. `ALL`: those of every
            layer, side by side.

    Raises:
        SerError: as `read_encoder_folder`, or there is no such layer, or the weights are damaged or incomplete.
    """
    folder = read_encoder_folder(path)
    layer = folder.layer(layer)
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoFeatureExtractor, AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")  # WavLM's own call
    try:
        model, found = AutoModel.from_pretrained(
            folder.path, local_files_only=True, trust_remote_code=False, weights_only=True, dtype=torch.float32,
            output_loading_info=True,
        )
        extractor = AutoFeatureExtractor.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError, SafetensorError,
            StrictDataclassError) as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise SerError(f"{folder.path}: cannot be loaded as {folder.kind} ({said}); config.json and weights are to be "
                       "of one model, and weights safetensors or pickles with nothing but tensors: copy or convert "
                       "them again") from error
    if missing := sorted(name for name in found["missing_keys"] if not name.startswith(_NOT_NEEDED)):
        raise SerError(f"{folder.path}: its weights lack {len(missing)} parameters of {folder.kind}, such as "
                       f"{missing[0]}; copy the whole model")
    if bad := next((name for name, weight in model.named_parameters() if not weight.isfinite().all()), None):
        raise SerError(f"{folder.path}: {bad} has numbers that are none; copy or convert the weights again")
    return _encoder(folder, model, extractor, layer)


def build_encoder(about: EncoderConfig, layer: int) -> Encoder:
    """Return an encoder as `load_encoder` does, whose weights are yet to be given to it."""
    from transformers import AutoConfig, AutoModel, WhisperFeatureExtractor

    values = {name: value for name, value in about.config.items() if name != "model_type"}
    extractor = WhisperFeatureExtractor.from_dict(about.preprocessor) if about.kind == "whisper" else None
    # Float32, as `load_encoder` has it, whatever the folder's weights were stored in.
    model = AutoModel.from_config(AutoConfig.for_model(about.kind, **values), dtype=torch.float32)
    return _encoder(about, model, extractor, layer)


def _encoder(about: EncoderConfig, model: nn.Module, extractor: Any, layer: int | str) -> Encoder:
    kind = _Whisper if about.kind == "whisper" else _OfWaveforms
    encoder = kind(about, model, extractor, about.layers if layer == ALL else layer)
    if layer == ALL:
        encoder.all_layers, encoder.dim = True, about.layers * encoder.dim
    return encoder.eval()


class Encoder(nn.Module):
    """An encoder of waveforms. `front_end` is the module of its convolutions.

    Attributes:
        dim: numbers of a hidden state.
        longest: samples of the longest waveform that it takes.
        all_layers: whether hidden states of every layer are given, side by side, and not those of the last one alone.
    """

    dim: int
    longest: int
    all_layers = False

    def checkpoint_gradients(self) -> None:
        """Have each layer's activations computed again for the gradient in training, and not kept until then."""
        from transformers.modeling_layers import GradientCheckpointingLayer

        for module in self.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.gradient_checkpointing = True
                module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)

    def num_frames(self, samples: Any) -> Any:
        """Return how many frames so many samples give (a number, or a tensor of them); 0 or less for too few."""
        raise NotImplementedError

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hidden states of a batch.

        Args:
            samples: (n,) float32 or float64 at int16 scale and 16 kHz, the waveforms of all utterances end to end.
            lengths: (B,) samples of each, on the CPU, each enough for one frame and at most `longest`.

        Returns:
            (m, dim) of the type of `samples`, the frames of all utterances end to end, and (B,) frames of each, on the
            CPU.
        """
        frames = self.num_frames(lengths)
        padded = self._padded(samples / INT16_SCALE, lengths, frames)
        return padded[_mask(frames, padded.shape[1], padded.device)].to(samples.dtype), frames

    def _padded(self, samples: Tensor, lengths: Tensor, frames: Tensor) -> Tensor:
        """Return the hidden states (B, T, dim) of samples from -1 to 1; what is beyond `frames` does not matter."""
        raise NotImplementedError


class _OfWaveforms(Encoder):
    """HuBERT, WavLM, wav2vec 2.0 and data2vec-audio."""

    def __init__(self, about: EncoderConfig, model: nn.Module, extractor: Any, layer: int) -> None:
        super().__init__()
        model.config.layerdrop = 0.0  # in training, so that processes which train together have the same layers
        self.front_end, self.projection, self.encoder = model.feature_extractor, model.feature_projection, model.encoder
        self.dim, self.normalise, self._inside = model.config.hidden_size, about.normalise, None
        self.longest = round(about.longest * RATE)
        self.steps = list(zip(model.config.conv_kernel, model.config.conv_stride, strict=True))
        if layer < about.layers:
            self.encoder.layers = self.encoder.layers[:layer]
            if getattr(model.config, "do_stable_layer_norm", False):  # the norm after the last layer
                self.encoder.layer_norm = nn.Identity()
        for module in self.encoder.layers:
            module.register_forward_hook(self._keep_states)
        for module in self.encoder.pos_conv_embed.modules():
            if isinstance(module, nn.Conv1d):
                module.register_forward_pre_hook(self._clear_padding)

    def num_frames(self, samples: Any) -> Any:
        for kernel, stride in self.steps:
            samples = (samples - kernel) // stride + 1
        return samples

    def _padded(self, samples: Tensor, lengths: Tensor, frames: Tensor) -> Tensor:
        waveforms = pad_sequence(samples.split(lengths.tolist()), batch_first=True)
        if self.normalise:  # as transformers' Wav2Vec2FeatureExtractor
            waveforms = _standardise(waveforms, lengths, 1e-7)
        x = waveforms[:, None]
        for layer, (kernel, stride) in zip(self.front_end.conv_layers, self.steps, strict=True):
            lengths = (lengths - kernel) // stride + 1
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):  # a group is a channel
                x = _standardise(layer.conv(x), lengths, norm.eps) * norm.weight[:, None] + norm.bias[:, None]
                x = layer.activation(x)
            else:
                x = layer(x)
        x = self.projection(x.transpose(1, 2))
        x = x[0] if isinstance(x, tuple) else x
        self._inside = _mask(frames, x.shape[1], x.device)
        self._states = []
        last = self.encoder(x, attention_mask=self._inside)[0]
        return torch.cat([*self._states[:-1], last], 2) if self.all_layers else last

    def _keep_states(self, _: nn.Module, inputs: Any, outputs: Tensor | tuple[Tensor, ...]) -> None:
        """Keep what a layer gives, if it is wanted."""
        if self.all_layers:
            self._states.append(outputs[0] if isinstance(outputs, tuple) else outputs)

    def _clear_padding(self, _: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        """Have a convolution over frames (B, dim, T) read zeros beyond an utterance's end."""
        return (inputs[0] * self._inside[:, None],)


class _Whisper(Encoder):
    """Whisper's encoder, on the utterance as it is: not padded to 30 s."""

    def __init__(self, about: EncoderConfig, model: nn.Module, extractor: Any, layer: int) -> None:
        super().__init__()
        encoder, self.extractor = model.encoder, extractor
        self.config, self.dropout, self.hop = encoder.config, encoder.dropout, extractor.hop_length
        self.front_end = nn.ModuleList([encoder.conv1, encoder.conv2])
        self.positions = encoder.embed_positions.requires_grad_(False)  # sines
        self.layers, self.norm = encoder.layers[:layer], encoder.layer_norm if layer == about.layers else nn.Identity()
        self.dim, self.longest = self.config.d_model, round(about.longest * RATE)

    def num_frames(self, samples: Any) -> Any:
        mels = samples // self.hop
        return (mels + 1) // 2 * (samples >= self.extractor.n_fft)

    def _padded(self, samples: Tensor, lengths: Tensor, frames: Tensor) -> Tensor:
        from transformers.masking_utils import create_bidirectional_mask

        mels, (first, second) = lengths // self.hop, self.front_end
        x = pad_sequence([self._mel(waveform) for waveform in samples.split(lengths.tolist())], batch_first=True)
        x = F.gelu(first(x.transpose(1, 2))) * _mask(mels, x.shape[1], x.device)[:, None]
        x = F.gelu(second(x)).transpose(1, 2)
        x = F.dropout(x + self.positions.weight[: x.shape[1]], self.dropout, self.training)
        inside = _mask(frames, x.shape[1], x.device)
        attention_mask = create_bidirectional_mask(config=self.config, inputs_embeds=x, attention_mask=inside)
        found = []
        for layer in self.layers:
            x = layer(x, attention_mask)
            found.append(x)
        found[-1] = self.norm(x)
        return torch.cat(found, 2) if self.all_layers else found[-1]

    def _mel(self, waveform: Tensor) -> Tensor:
        """Return the log-mel spectrogram (frames, bands) of a waveform."""
        with torch.autocast("cpu", enabled=False):
            found = self.extractor(waveform.cpu().numpy(), sampling_rate=RATE, padding="longest", return_tensors="np")
        return torch.from_numpy(np.ascontiguousarray(found["input_features"][0].T)).to(waveform.device)


def _mask(lengths: Tensor, longest: int, device: torch.device) -> Tensor:
    """Return where a batch (B, longest) is real, for (B,) lengths on the CPU."""
    return (torch.arange(longest) < lengths[:, None]).to(device, non_blocking=True)


def _standardise(x: Tensor, lengths: Tensor, eps: float) -> Tensor:
    """Bring each row of (B, …, T) to mean 0 and variance 1 over its first `lengths` (B,) values; zeros follow those."""
    inside = _mask(lengths, x.shape[-1], x.device).view(len(lengths), *[1] * (x.dim() - 2), -1)
    count = lengths.to(x.device).view(-1, *[1] * (x.dim() - 1))
    x = (x - (x * inside).sum(-1, keepdim=True) / count) * inside
    return x * (x.square().sum(-1, keepdim=True) / count + eps).rsqrt()
