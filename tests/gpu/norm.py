"""The fused batch norm beside PyTorch's on gathered frames, on the shapes of the ResNet's layers.

Both take rows with gaps, a shortcut and a gradient, and give rows with gaps: ReLU(norm(x) + shortcut). The other way
gathers the frames, normalises them with nn.BatchNorm2d, puts them back among zeros, adds and applies the ReLU.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from common import BANDS, features, interleaved
from distances import distance
from rows import Row, at_most
from torch import Tensor, nn

from ser.features.packed import pack
from ser.nets.frame_norm import FrameNorm
from ser.nets.layout import Layout
from ser.nets.resnet import CHANNELS
from ser.training.classification import make_plans
from ser.training.device import resolve_precision
from ser.training.options import TrainOptions

_LIMITS = {"float32": 1e-4, "bf16": 0.03}  # of distances between the two ways


def rows(device: torch.device, quick: bool, folder: Path) -> Iterator[Row]:
    """Yield the lines; `folder` is for scratch files."""
    with features(None, 4 if quick else 128) as data:
        pack([data], folder / "packed")
    plans, _, _ = make_plans([str(folder / "packed")], TrainOptions(scheme="n+se-cp", batch_size=128))
    lengths = torch.from_numpy(next(plans.epoch(1)).filled.sum(1))
    native = {"float32": torch.float32}
    if quick or resolve_precision("auto", device) == "bf16":
        native["bf16"] = torch.bfloat16
    for precision, dtype in native.items():
        layout, worst = Layout(lengths, BANDS, device), 0.0
        for stage, channels in enumerate(CHANNELS, 1):
            layout = layout.halved() if stage > 1 else layout
            ways = _ways(layout, channels, dtype)
            fused, gathered = (way() for way in ways.values())
            worst = max([worst, *(distance(a, b) for a, b in zip(fused, gathered, strict=True))])
            del fused, gathered
            times = interleaved(ways, 1 if quick else 20, device)
            ours, theirs = (1e3 * statistics.median(times[name]) for name in ways)
            shape = f"{layout.rows}x{channels}x{layout.bands}x{layout.width}"
            yield Row(f"norm, {precision}, {shape}: fused {ours:.3f} ms, gathered {theirs:.3f} ms, forward and "
                      "backward; gathered to fused", "", "", f"{theirs / ours:.2f}")
        yield at_most(f"norm, {precision}: fused against gathered, outputs and gradients, worst", worst,
                      _LIMITS[precision])


def _ways(layout: Layout, channels: int, dtype: torch.dtype) -> dict[str, Callable[[], list[Tensor]]]:
    """Return the two ways, each to its output and the gradients of input, shortcut, weight and bias."""
    torch.manual_seed(0)
    device, size = layout.device, layout.rows * layout.bands * layout.width
    norms = [FrameNorm(channels).to(device).train(), nn.BatchNorm2d(channels).to(device).train()]
    free = torch.zeros(size, dtype=torch.bool, device=device).index_fill_(0, layout.gaps, True)
    real = free.logical_not().nonzero()[:, 0]

    def image(inside: bool) -> Tensor:
        values = torch.randn(size, channels, device=device).to(dtype)
        if inside:
            values.index_fill_(0, layout.gaps, 0)
        return values.view(layout.rows, layout.bands, layout.width, channels).permute(0, 3, 1, 2)

    shortcut, gradient, x = image(True).requires_grad_(), image(True), image(True).requires_grad_()

    def finish(norm: nn.Module, y: Tensor) -> list[Tensor]:
        inputs = (x, shortcut, norm.weight, norm.bias)
        return [y.detach(), *torch.autograd.grad(y, inputs, gradient)]

    def fused() -> list[Tensor]:
        return finish(norms[0], norms[0](x, layout.gaps, shortcut))

    def gathered() -> list[Tensor]:
        frames = x.permute(0, 2, 3, 1).reshape(size, channels).index_select(0, real)
        frames = norms[1](frames.view(1, 1, -1, channels).permute(0, 3, 1, 2))
        frames = frames.permute(0, 2, 3, 1).reshape(-1, channels)
        spread = frames.new_zeros(size, channels).index_copy(0, real, frames)
        spread = spread.view(layout.rows, layout.bands, layout.width, channels).permute(0, 3, 1, 2)
        return finish(norms[1], F.relu(spread + shortcut))

    return {"fused": fused, "gathered": gathered}
