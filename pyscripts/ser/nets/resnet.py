"""The paper's network (Table 1): ResNet-34 over time and frequency, 32-head attention pooling, two linear layers.

A batch is the frames of its utterances end to end, whatever their lengths. They are laid on a few long rows with zeros
between them, which is what a convolution reads beyond the ends of a lone utterance; everything else sees real frames
only. So no utterance's logits depend on what it is batched with, batch norm has ordinary statistics, and a batch costs
what its frames cost, not what its longest utterance would.

Images are (rows, channels, bands, width), time last: convolutions on a CPU go along the last axis in blocks, for which
the 23 to 3 bands of the features are too few.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ser.nets.frame_norm import FrameNorm

BLOCKS = (3, 4, 6, 3)
CHANNELS = (16, 32, 64, 128)
HEADS = 32
EMBEDDING = 400


_STRIDE = 2 ** (len(BLOCKS) - 1)  # frames of the input per frame of the last block
_PER_ROW = 16  # utterances on a row, about: one endless row is slower on a CPU, short ones waste their ends
_WIDTH = 128  # rows are multiples of this long, so that shapes recur: libraries cache what they prepare for a shape


class Layout:
    """Where the frames of a batch lie on rows, at one time resolution.

    Utterances stand on rows, each from a multiple of `_STRIDE` on, so that strided convolutions see it as if it stood
    alone, with at least `_STRIDE` zero frames after it: 8 at the first convolution, which reaches 3 beyond an end, and
    still 1 at the last ones, which reach 1.

    Args:
        lengths: frames of each utterance, (B,), on the CPU, so that counting them never makes a GPU wait.
        bands: of the image.
        device: where the batch is.

    Attributes:
        gaps: (G,) positions in (rows, bands, width) that belong to no frame, on the device.
    """

    def __init__(self, lengths: Tensor, bands: int, device: torch.device) -> None:
        room = (lengths + 2 * _STRIDE - 1) // _STRIDE * _STRIDE
        begin = room.cumsum(0) - room
        rows = -(-len(lengths) // _PER_ROW)
        row = begin * rows // room.sum()
        row = torch.unique_consecutive(row, return_inverse=True)[1]  # an utterance may be longer than a row's share
        first = torch.searchsorted(row, torch.arange(int(row[-1]) + 1))
        begin = begin - begin[first][row]
        width = -(-int((begin + room).max()) // _WIDTH) * _WIDTH
        self._set(lengths, row, begin, bands, width, device)

    def _set(
        self, lengths: Tensor, row: Tensor, begin: Tensor, bands: int, width: int, device: torch.device
    ) -> None:
        self.lengths, self.row, self.begin, self.device = lengths, row, begin, device
        self.bands, self.width = bands, width
        self.rows = int(row[-1]) + 1
        places = torch.repeat_interleave(row * width + begin - lengths.cumsum(0) + lengths, lengths)
        places += torch.arange(len(places))
        free = torch.ones(self.rows * width, dtype=torch.bool).index_fill_(0, places, False)
        self._places = places
        gap_row, column = free.view(self.rows, width).nonzero().to(device, non_blocking=True).unbind(1)
        bands_of_rows = gap_row * bands + torch.arange(bands, device=device)[:, None]
        self.gaps = (bands_of_rows * width + column).view(-1)

    @property
    def places(self) -> Tensor:
        """(n,) position, row · width + column, of every frame of the utterances end to end, on the device."""
        return self._places.to(self.device, non_blocking=True)

    def halved(self) -> Layout:
        """The same after a convolution of stride 2: every length becomes its half, rounded up, and so do the bands."""
        half = object.__new__(Layout)
        bands, width = (self.bands + 1) // 2, self.width // 2
        half._set((self.lengths + 1) // 2, self.row, self.begin // 2, bands, width, self.device)
        return half

    def spread(self, frames: Tensor) -> Tensor:
        """(n, bands), the frames of all utterances, to (rows, 1, bands, width) with zeros around utterances."""
        spread = _put_rows(frames, self.places, self.rows * self.width)
        return _time_last(spread.view(self.rows, self.width, self.bands))

    def pad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, width, D) to (B, T, D), T the longest utterance's frames, and the (B, T) mask of real ones."""
        mask = torch.arange(int(self.lengths.max())) < self.lengths[:, None]
        places = mask.view(-1).nonzero()[:, 0].to(self.device, non_blocking=True)
        frames = _TakeRows.apply(x.reshape(self.rows * self.width, -1), self.places)
        padded = _put_rows(frames, places, mask.numel()).view(*mask.shape, -1)
        return padded, mask.to(self.device, non_blocking=True)


class Grid:
    """Stands for `Layout` where all utterances are equally long: each is a row, and nothing need be moved."""

    gaps = None

    def __init__(self, utterances: int) -> None:
        self.utterances = utterances

    def halved(self) -> Grid:
        return self

    def spread(self, frames: Tensor) -> Tensor:
        return _time_last(frames.view(self.utterances, -1, frames.shape[1]))

    def pad(self, x: Tensor) -> tuple[Tensor, None]:
        return x, None


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
        return _put_rows(gradient, rows, ctx.size), None


def _put_rows(x: Tensor, rows: Tensor, size: int) -> Tensor:
    """The inverse of `_TakeRows`: rows to their places among `size` rows of zeros."""
    return x.new_zeros(size, x.shape[1]).index_copy_(0, rows, x)


def _time_last(x: Tensor) -> Tensor:
    """(rows, width, bands) to (rows, 1, bands, width), in the order that has convolutions answer channels-last."""
    return x.transpose(1, 2)[:, None].contiguous(memory_format=torch.channels_last)


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

    def forward(self, x: Tensor, layout: Layout | Grid) -> tuple[Tensor, Layout | Grid]:
        """Rows to rows, and their layout."""
        layout = layout.halved() if self.stride == 2 else layout
        y = self.conv2(self.norm1(self.conv1(x), layout.gaps))
        shortcut = self.shortcut_norm(self.shortcut(x), layout.gaps, relu=False) if self.project else x
        return self.norm2(y, layout.gaps, shortcut), layout


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


class AngularMargin(nn.Module):
    """Additive angular margin softmax: Deng et al., ArcFace, CVPR 2019, equation (3).

    Logits are scaled cosines of the embedding and a vector per class; in training the angle to the true class is
    enlarged by the margin first, so that a class is learnt only once it wins by that much.
    """

    def __init__(self, dim: int, classes: int, margin: float, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(classes, dim)))
        self.margin, self.scale = margin, scale

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, D) embeddings and, in training, their (B,) labels to (B, classes) logits."""
        with torch.autocast(x.device.type, enabled=False):
            cosines = F.linear(F.normalize(x.float()), F.normalize(self.weight))
            if labels is not None:
                true = cosines.gather(1, labels[:, None])
                sine = (1 - true.square()).clamp_min(1e-7).sqrt()
                further = true * math.cos(self.margin) - sine * math.sin(self.margin)
                # Past half a turn the cosine would rise again; a straight line goes on falling.
                beyond = true - self.margin * math.sin(self.margin)
                true = torch.where(true > -math.cos(self.margin), further, beyond)
                cosines = cosines.scatter(1, labels[:, None], true)
            return self.scale * cosines


class ResNet34(nn.Module):
    """Features to class logits.

    Args:
        classes: size of the output layer.
        angular: margin and scale of an `AngularMargin` output layer; None: a linear one after a ReLU (the paper's).

    Attributes:
        output_layers: the layers that depend on the classes.
    """

    output_layers = ("classifier",)

    def __init__(self, classes: int, angular: tuple[float, float] | None = None) -> None:
        super().__init__()
        self.stem = Convolution(1, CHANNELS[0], 7, 1)
        self.stem_norm = FrameNorm(CHANNELS[0])
        blocks, channels_in = [], CHANNELS[0]
        for stage, (count, channels) in enumerate(zip(BLOCKS, CHANNELS, strict=True)):
            for index in range(count):
                blocks.append(BasicBlock(channels_in, channels, 2 if stage and index == 0 else 1))
                channels_in = channels
        self.blocks = nn.ModuleList(blocks)
        self.pooling = AttentionPooling(CHANNELS[-1])
        self.embedding = nn.Linear(HEADS * CHANNELS[-1], EMBEDDING)
        self.angular = angular
        self.classifier = AngularMargin(EMBEDDING, classes, *angular) if angular else nn.Linear(EMBEDDING, classes)
        for module in self.modules():
            if isinstance(module, Convolution):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)

    def embed(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """The layer of 400 before its ReLU (the x-vector of a speaker model).

        Args:
            frames: (n, D), the frames of all utterances end to end.
            lengths: (B,) frames of each utterance, on the CPU.

        Returns:
            (B, 400), float32.
        """
        alike = bool((lengths == lengths[0]).all())
        layout: Layout | Grid = Grid(len(lengths)) if alike else Layout(lengths, frames.shape[1], frames.device)
        x = self.stem_norm(self.stem(layout.spread(frames)), layout.gaps)
        for block in self.blocks:
            x, layout = block(x, layout)
        with torch.autocast(frames.device.type, enabled=False):  # exponentials of distances want float32
            x = x.to(self.embedding.weight.dtype).mean(2).transpose(1, 2)
            return self.embedding(self.pooling(*layout.pad(x)))

    def forward(self, frames: Tensor, lengths: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B, classes); arguments as in `embed`, and in training the (B,) labels, for the margin."""
        if self.angular:
            return self.classifier(self.embed(frames, lengths), labels)
        return self.classifier(F.relu(self.embed(frames, lengths)))
