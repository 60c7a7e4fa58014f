"""Where the frames of a batch lie: utterances of any lengths on a few long rows, with zeros between them.

Zeros are what a convolution reads beyond the ends of a lone utterance, and everything else sees real frames only. So no
utterance's logits depend on what it is batched with, batch norm has ordinary statistics, and a batch costs what its
frames cost, not what its longest utterance would.

Images are (rows, channels, bands, width), time last: convolutions on a CPU go along the last axis in blocks, for which
the 23 to 3 bands of the features are too few.
"""

from __future__ import annotations

import torch
from torch import Tensor

STRIDE = 8  # frames of the input per frame after the last convolution, at most
UTTERANCES_PER_ROW = 16  # utterances on a row, about: one endless row is slower on a CPU, short ones waste their ends
_WIDTH = 128  # rows are multiples of this long, so that shapes recur: libraries cache what they prepare for a shape


class Layout:
    """Where the frames of a batch lie on rows, at one time resolution.

    Utterances stand on rows, each from a multiple of `STRIDE` on, so that strided convolutions see it as if it stood
    alone, with at least `STRIDE` zero frames after it: 8 at the first convolution, which reaches 3 beyond an end, and
    still 1 at the last ones, which reach 1.

    Args:
        lengths: frames of each utterance, (B,), on the CPU, so that counting them never makes a GPU wait.
        bands: of the image.
        device: where the batch is.

    Attributes:
        gaps: (G,) positions in (rows, bands, width) that belong to no frame, on the device.
    """

    def __init__(self, lengths: Tensor, bands: int, device: torch.device) -> None:
        room = (lengths + 2 * STRIDE - 1) // STRIDE * STRIDE
        begin = room.cumsum(0) - room
        rows = -(-len(lengths) // UTTERANCES_PER_ROW)
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
        """Return the position, row · width + column, of every frame, (n,), utterances end to end, on the device."""
        return self._places.to(self.device, non_blocking=True)

    def halved(self) -> Layout:
        """Return the layout after a convolution of stride 2, which halves lengths and bands, rounding up."""
        half = object.__new__(Layout)
        bands, width = (self.bands + 1) // 2, self.width // 2
        half._set((self.lengths + 1) // 2, self.row, self.begin // 2, bands, width, self.device)
        return half

    def spread(self, frames: Tensor) -> Tensor:
        """Lay frames, (n, bands) for all utterances end to end, on (rows, 1, bands, width), zeros around utterances."""
        spread = _put_rows(frames, self.places, self.rows * self.width)
        return _time_last(spread.view(self.rows, self.width, self.bands))

    def pad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Turn (rows, width, D) into (B, T, D), T the longest utterance's frames, and the (B, T) mask of real ones."""
        mask = torch.arange(int(self.lengths.max())) < self.lengths[:, None]
        places = mask.view(-1).nonzero()[:, 0].to(self.device, non_blocking=True)
        frames = _TakeRows.apply(x.reshape(self.rows * self.width, -1), self.places)
        padded = _put_rows(frames, places, mask.numel()).view(*mask.shape, -1)
        return padded, mask.to(self.device, non_blocking=True)


class EqualLengths:
    """Takes the place of `Layout` where all utterances are equally long: each is a row, and nothing need be moved."""

    gaps = None

    def __init__(self, utterances: int) -> None:
        self.utterances = utterances

    def halved(self) -> EqualLengths:
        return self

    def spread(self, frames: Tensor) -> Tensor:
        return _time_last(frames.view(self.utterances, -1, frames.shape[1]))

    def pad(self, x: Tensor) -> tuple[Tensor, None]:
        return x, None


class _TakeRows(torch.autograd.Function):
    """Select distinct rows, as `index_select` does, with a gradient that copies, where the general one adds up."""

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
    """Put rows in their places among `size` rows of zeros: the inverse of `_TakeRows`."""
    return x.new_zeros(size, x.shape[1]).index_copy_(0, rows, x)


def _time_last(x: Tensor) -> Tensor:
    """Turn (rows, width, bands) into (rows, 1, bands, width), ordered so that convolutions answer channels-last."""
    return x.transpose(1, 2)[:, None].contiguous(memory_format=torch.channels_last)


def layout_of(lengths: Tensor | None, bands: int, device: torch.device) -> Layout | EqualLengths:
    """Return the layout of utterances of these lengths; None: of one utterance. The arguments are those of `Layout`."""
    if lengths is None:
        return EqualLengths(1)
    alike = bool((lengths == lengths[0]).all())
    return EqualLengths(len(lengths)) if alike else Layout(lengths, bands, device)


def within(lengths: Tensor, device: torch.device) -> Tensor:
    """Return the mask of real places, (B, longest), of sequences of these lengths, which are on the CPU."""
    return (torch.arange(int(lengths.max())) < lengths[:, None]).to(device, non_blocking=True)
