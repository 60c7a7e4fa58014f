"""The paper's network (Table 1): ResNet-34 over time and frequency, 32-head attention pooling, two linear layers.

Utterances of different lengths share a batch by padding, and the padding touches nothing: it is zero wherever a
convolution reads it (which is what a convolution reads beyond the end of a lone utterance), and is left out of
batch-norm statistics and of the pooling. An utterance's logits do not depend on what it is batched with.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = (3, 4, 6, 3)
CHANNELS = (16, 32, 64, 128)
HEADS = 32
EMBEDDING = 400


class Padding:
    """Where the real frames of a padded batch are, at one time resolution.

    Convolutions work on the padded batch; everything else works on its real frames alone, packed end to end as if
    they were one long utterance, so that ordinary batch norm has ordinary statistics and nothing need be masked.

    Args:
        lengths: frames of each utterance, (B,), on the CPU, so that counting them never makes a GPU wait.
        frames: T, the length they are padded to.
        device: where the batch is.
    """

    def __init__(self, lengths: Tensor, frames: int, device: torch.device) -> None:
        self.lengths, self.frames, self.device = lengths, frames, device
        real = torch.arange(frames) < lengths[:, None]
        self.mask = real.to(device, non_blocking=True)
        self.rows = real.view(-1).nonzero()[:, 0].to(device, non_blocking=True)

    def halved(self) -> Padding:
        """The same after a 3×3 convolution with stride 2 and padding 1: every length becomes its half, rounded up."""
        return Padding((self.lengths + 1) // 2, (self.frames + 1) // 2, self.device)

    def pack(self, x: Tensor) -> Tensor:
        """(B, C, T, F) to (1, C, n, F), the n real frames of all utterances."""
        batch, channels, frames, width = x.shape
        rows = _TakeRows.apply(x.permute(0, 2, 3, 1).reshape(batch * frames, width * channels), self.rows)
        return rows.view(1, -1, width, channels).permute(0, 3, 1, 2)

    def unpack(self, x: Tensor) -> Tensor:
        """The inverse of `pack`, with zeros for padding."""
        _, channels, real, width = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(real, width * channels)
        rows = _PutRows.apply(rows, self.rows, self.mask.numel())
        return rows.view(*self.mask.shape, width, channels).permute(0, 3, 1, 2)


class _TakeRows(torch.autograd.Function):
    """`index_select` of distinct rows: its gradient is a copy, where the general one must add up."""

    @staticmethod
    def forward(ctx, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.size = len(x)
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (rows,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.size, gradient.shape[1]).index_copy_(0, rows, gradient), None


class _PutRows(torch.autograd.Function):
    """The inverse of `_TakeRows`: rows to their places among `size` rows of zeros."""

    @staticmethod
    def forward(ctx, x: Tensor, rows: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(rows)
        return x.new_zeros(size, x.shape[1]).index_copy_(0, rows, x)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (rows,) = ctx.saved_tensors
        return gradient.index_select(0, rows), None, None


class Unpadded:
    """Stands for `Padding` where every utterance fills its batch: there is nothing to pack."""

    mask = None

    def halved(self) -> Unpadded:
        return self

    def pack(self, x: Tensor) -> Tensor:
        return x

    unpack = pack


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around an identity (or 1×1) shortcut: He et al., CVPR 2016, fig. 5 left."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.project = stride != 1 or channels_in != channels
        if self.project:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, padding: Padding | Unpadded) -> tuple[Tensor, Padding | Unpadded]:
        """Packed frames to packed frames, and the padding at their resolution."""
        after = padding.halved() if self.stride == 2 else padding
        padded = padding.unpack(x)
        y = F.relu(self.norm1(after.pack(self.conv1(padded))), inplace=True)
        y = self.norm2(after.pack(self.conv2(after.unpack(y))))
        shortcut = self.shortcut_norm(after.pack(self.shortcut(padded))) if self.project else x
        return F.relu(y + shortcut, inplace=True), after


class AttentionPooling(nn.Module):
    """Multi-head attention over time, equations (1) and (2) of the paper.

    Head h weighs frame t by softmax over t of -s_h·‖x_t - μ_h‖ and returns the weighted mean of the frames.
    """

    def __init__(self, dim: int, heads: int = HEADS) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(heads, dim))
        self.scales = nn.Parameter(torch.ones(heads))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) frames and a (B, T) mask of the real ones to (B, heads·D)."""
        # The expanded square, which is the default for large inputs, loses the digits of small distances.
        distances = torch.cdist(x, self.centres[None], compute_mode="donot_use_mm_for_euclid_dist")
        scores = -self.scales * distances
        if mask is not None:
            scores = scores.masked_fill(~mask[:, :, None], -torch.inf)
        return torch.einsum("bth,btd->bhd", scores.softmax(1), x).flatten(1)


class ResNet34(nn.Module):
    """Features to class logits.

    Args:
        classes: size of the output layer.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, CHANNELS[0], 7, 1, 3, bias=False)
        self.stem_norm = nn.BatchNorm2d(CHANNELS[0])
        blocks, channels_in = [], CHANNELS[0]
        for stage, (count, channels) in enumerate(zip(BLOCKS, CHANNELS, strict=True)):
            for index in range(count):
                blocks.append(BasicBlock(channels_in, channels, 2 if stage and index == 0 else 1))
                channels_in = channels
        self.blocks = nn.ModuleList(blocks)
        self.pooling = AttentionPooling(CHANNELS[-1])
        self.embedding = nn.Linear(HEADS * CHANNELS[-1], EMBEDDING)
        self.classifier = nn.Linear(EMBEDDING, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def embed(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The layer of 400 before its ReLU (the x-vector of a speaker model).

        Args:
            features: (B, T, D), anything beyond an utterance's length zero.
            lengths: (B,) on the CPU; None when every utterance has T frames.

        Returns:
            (B, 400), float32.
        """
        padding: Padding | Unpadded = Unpadded()
        if lengths is not None and int(lengths.min()) < features.shape[1]:
            padding = Padding(lengths, features.shape[1], features.device)
        x = F.relu(self.stem_norm(padding.pack(self.stem(features[:, None]))), inplace=True)
        for block in self.blocks:
            x, padding = block(x, padding)
        x = padding.unpack(x.mean(3, keepdim=True))[:, :, :, 0].transpose(1, 2)
        with torch.autocast(features.device.type, enabled=False):  # exponentials of distances want float32
            x = x.to(self.embedding.weight.dtype)
            return self.embedding(self.pooling(x, padding.mask))

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits (B, classes); arguments as in `embed`."""
        return self.classifier(F.relu(self.embed(features, lengths)))
