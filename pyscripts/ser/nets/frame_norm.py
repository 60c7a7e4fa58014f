"""Batch norm over the frames of a batch that lie on rows with zeros between utterances, and what follows it."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_SIDE = 16  # positions that statistics are taken over side by side: the kernel wants longer rows than 16 channels


class FrameNorm(nn.BatchNorm2d):
    """Batch norm whose statistics are those of real frames, then a residual sum and a ReLU.

    In training all of it is one function, which goes over memory as seldom as PyTorch's kernels let it and keeps two
    tensors for the backward pass, its input and its output, the second of which the next convolution keeps anyway.

    Attributes:
        together: whether statistics are those of the batches of all processes of the default process group.
    """

    together = False

    def forward(self, x: Tensor, gaps: Tensor | None, shortcut: Tensor | None = None, relu: bool = True) -> Tensor:
        """ReLU(norm(x) + shortcut), with zeros in the gaps.

        Args:
            x: (rows, C, bands, width), what a convolution made; its gaps may be overwritten.
            gaps: positions in (rows, bands, width) that are no frame of an utterance's, (G,), or None.
            shortcut: of x's shape.
            relu: False for what will itself be a shortcut: norm(x) and no more, its gaps as they come.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        if not self.training:
            y = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
            if relu:
                _finish(_by_position(y), shortcut, gaps)
            return y
        y, mean, variance = _Normalise.apply(
            x, shortcut, self.weight, self.bias, gaps, relu, self.eps, self.together
        )
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            share = self.momentum
            if share is None:  # the mean of all batches
                share = 1 / self.num_batches_tracked.to(mean.dtype)
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance, share)
        return y


class _Normalise(torch.autograd.Function):
    """Ioffe and Szegedy, ICML 2015, Algorithm 1, and its gradient in their section 3, on (positions, C) matrices.

    PyTorch's kernels run as in evaluation, with statistics that they are given; how mean and variance depend on x is
    added to their gradient here. In bf16 these two parts are rounded before they are added.
    """

    @staticmethod
    def forward(
        ctx, x: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, gaps: Tensor | None, relu: bool,
        eps: float, together: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The result, and the statistics for running averages: mean and unbiased variance, (C,)."""
        values = _by_position(x)
        if gaps is not None:
            values.index_fill_(0, gaps, 0)
        statistics, count = _statistics(values, 0 if gaps is None else len(gaps), weight.dtype)
        if together:
            statistics, count = _of_all(statistics, count)
        mean, variance = statistics.to(weight.dtype)
        y = torch.native_batch_norm(values, weight, bias, mean, variance, False, 0.0, eps)[0]
        if relu:
            _finish(y, shortcut, gaps)
        y = _as_image(y, x.shape)
        ctx.save_for_backward(x, y if relu else None, weight, mean, variance, gaps)
        ctx.count, ctx.eps, ctx.together, ctx.has_shortcut = count, eps, together, shortcut is not None
        return y, mean, variance * (count / (count - 1))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        x, y, weight, mean, variance, gaps = ctx.saved_tensors
        values, gradient = _by_position(x), _by_position(gradient)
        if y is not None:  # which is zero in the gaps, and so is the gradient from here on
            gradient = torch.ops.aten.threshold_backward(gradient, _by_position(y), 0)
        inverse = (variance + ctx.eps).rsqrt()
        # As in evaluation, given as running averages, and once more as what a GPU's kernel asks for all the same.
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, values, weight, mean, variance, mean, inverse, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([of_weight, of_bias])
        if ctx.together:
            dist.all_reduce(sums)
        # The statistics' part of the gradient is a straight line in x, so the forward kernel can make it.
        slope, level = sums * (weight * inverse / -ctx.count)
        of_x.add_(torch.native_batch_norm(values, slope, level, mean, variance, False, 0.0, ctx.eps)[0])
        if gaps is not None:
            of_x.index_fill_(0, gaps, 0)
        of_shortcut = _as_image(gradient, x.shape) if ctx.has_shortcut else None
        return _as_image(of_x, x.shape), of_shortcut, of_weight, of_bias, None, None, None, None


def _finish(values: Tensor, shortcut: Tensor | None, gaps: Tensor | None) -> None:
    """Add the shortcut to (positions, C) values, clear the gaps, and apply the ReLU, all in place."""
    if shortcut is not None:
        values.add_(_by_position(shortcut))
    if gaps is not None:
        values.index_fill_(0, gaps, 0)
    values.relu_()


def _statistics(values: Tensor, gaps: int, dtype: torch.dtype) -> tuple[Tensor, int]:
    """Mean and biased variance of each channel, (2, C) float64, and the number of values behind them.

    Args:
        values: (positions, C), zero in the gaps.
        gaps: how many positions are gaps.
        dtype: to add up in.
    """
    positions, channels = values.shape
    side = math.gcd(positions, _SIDE)
    unused = torch.zeros(side * channels, dtype=dtype, device=values.device)  # running averages, which tell the dtype
    mean, variance = torch.batch_norm_update_stats(values.view(-1, side * channels), unused, unused, 0.0)
    count = positions - gaps
    means, variances = torch.stack([mean, variance]).double().view(2, side, channels)
    share = positions / (side * count)
    mean = means.sum(0) * share
    # In float64, for the difference of two large numbers where a mean is far from 0. Below 0 it would end in NaN.
    variance = ((variances + means**2).sum(0) * share - mean**2).clamp_min(0)
    return torch.stack([mean, variance]), count


def _of_all(statistics: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The statistics of the values of all processes, from those of each: Chan, Golub and LeVeque, 1979."""
    own = torch.cat([statistics.view(-1), statistics.new_full((1,), count)])
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    means, variances, counts = torch.stack(parts).split([statistics.shape[1], statistics.shape[1], 1], 1)
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    return torch.stack([mean, (counts * (variances + (means - mean) ** 2)).sum(0) / total]), total


def _by_position(x: Tensor) -> Tensor:
    """(rows, C, bands, width) in channels-last order as (rows · bands · width, C)."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _as_image(values: Tensor, shape: torch.Size) -> Tensor:
    rows, channels, bands, width = shape
    return values.view(rows, bands, width, channels).permute(0, 3, 1, 2)
