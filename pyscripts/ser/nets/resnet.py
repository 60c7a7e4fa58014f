"""The network of Pappagari et al., ICASSP 2021, Table 1: ResNet-34, 32-head attention pooling, two linear layers.

A batch is the frames of its utterances end to end, whatever their lengths (see `ser.nets.layout`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ser.nets.embedding_classifier import EmbeddingClassifier
from ser.nets.frame_norm import FrameNorm
from ser.nets.layout import STRIDE, EqualLengths, Layout, layout_of
from ser.nets.pooling import AttentionPooling

BLOCKS = (3, 4, 6, 3)
CHANNELS = (16, 32, 64, 128)
HEADS = 32
EMBEDDING = 400
assert 2 ** (len(BLOCKS) - 1) <= STRIDE


class Convolution(nn.Conv2d):
    """Without bias, centred; its weight is (out, in, time, frequency) whatever the order of the image's axes."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__(channels_in, channels, kernel, stride, kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, in, bands, width) to (rows, out, bands, width), the last two over the stride."""
        return F.conv2d(x, self.weight.transpose(2, 3), None, self.stride, self.padding)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around an identity (or 1×1) shortcut: He et al., CVPR 2016, fig. 5 left."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Convolution(channels_in, channels, 3, stride)
        self.norm1 = FrameNorm(channels)
        self.conv2 = Convolution(channels, channels, 3, 1)
        self.norm2 = FrameNorm(channels)
        self.stride = stride
        self.project = stride != 1 or channels_in != channels
        if self.project:
            self.shortcut = Convolution(channels_in, channels, 1, stride)
            self.shortcut_norm = FrameNorm(channels)

    def forward(self, x: Tensor, layout: Layout | EqualLengths) -> tuple[Tensor, Layout | EqualLengths]:
        """Rows to rows, and their layout."""
        layout = layout.halved() if self.stride == 2 else layout
        y = self.conv2(self.norm1(self.conv1(x), layout.gaps))
        shortcut = self.shortcut_norm(self.shortcut(x), layout.gaps, relu=False) if self.project else x
        return self.norm2(y, layout.gaps, shortcut), layout


class ResNet34(EmbeddingClassifier):
    """Features to class logits; the arguments after `classes` are those of `EmbeddingClassifier`."""

    def __init__(self, classes: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stem = Convolution(1, CHANNELS[0], 7, 1)
        self.stem_norm = FrameNorm(CHANNELS[0])
        blocks, channels_in = [], CHANNELS[0]
        for stage, (count, channels) in enumerate(zip(BLOCKS, CHANNELS, strict=True)):
            for index in range(count):
                blocks.append(BasicBlock(channels_in, channels, 2 if stage and index == 0 else 1))
                channels_in = channels
        self.blocks = nn.ModuleList(blocks)
        self.pooling = AttentionPooling(CHANNELS[-1], HEADS)
        self.embedding = nn.Linear(HEADS * CHANNELS[-1], EMBEDDING)
        self.classifier = self.output_layer(EMBEDDING, classes)
        for module in self.modules():
            if isinstance(module, Convolution):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)

    def embed(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the layer of 400 before its ReLU (the x-vector of a speaker model), (B, 400)."""
        layout = layout_of(lengths, frames.shape[1], frames.device)
        x = self.stem_norm(self.stem(layout.spread(self.scaled(frames))), layout.gaps)
        for block in self.blocks:
            x, layout = block(x, layout)
        with torch.autocast(frames.device.type, enabled=False):  # exponentials of distances want float32
            x = x.to(self.embedding.weight.dtype).mean(2).transpose(1, 2)
            return self.embedding(self.pooling(*layout.pad(x)))
