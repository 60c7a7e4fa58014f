#!/usr/bin/env python3
"""How near training comes to what the device can do: operations and bytes counted from layer shapes, beside a large
matrix product and a large copy on the same device, in one run.

Counted per example, from Table 1 of the paper:
  operations  2 a multiply-add of convolutions and linear layers; the backward pass takes two such products, one for
              the weights and one for the layer's input, which the first layer does not need.
  bytes       what must pass through memory when everything elementwise is fused into its neighbour. Batch norm needs
              sums over the whole batch, so a convolution's output O is written before the next layer can use it:
              forward reads the input I and writes O; backward reads both again, reads the gradient of O and writes
              that of I. A block's sum is read twice, written, and its gradient read once more. Weights, shared by the
              batch, are left out, and so are pooling and linear layers, whose tensors are a thousandth of these.

Usage: python3 tests/benchmarks/bench_ceiling.py [--data DIR] [--utterances N] [--rounds N] [--device D]
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from bench_training import OurLoop, our_data, precisions
from common import BANDS, features, interleaved, markdown, parse_options, report, source_name

from ser.base.errors import run_main
from ser.nets.resnet import BLOCKS, CHANNELS, EMBEDDING, HEADS
from ser.training.device import set_up_device

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_SIZES = {"cpu": (2048, 1 << 28), "cuda": (8192, 1 << 32)}  # of the matrices, and bytes copied


@dataclass(frozen=True)
class Layer:
    """A convolution, or with `kernel` 0 a block's sum: multiply-adds of a forward pass, and elements per example."""

    stage: int
    multiply_adds: int
    elements_in: int
    elements_out: int

    @property
    def operations(self) -> int:
        passes = 2 if self.stage == 0 else 3  # the stem passes no gradient on
        return 2 * passes * self.multiply_adds

    @property
    def elements_moved(self) -> int:
        if self.multiply_adds == 0:
            return 4 * self.elements_out
        return (3 if self.stage else 2) * self.elements_in + 3 * self.elements_out


def network(frames: int, bands: int = BANDS) -> Iterator[Layer]:
    """The layers for an utterance of `frames`; stage 0 is the stem, 5 what follows the convolutions."""

    def convolution(stage: int, kernel: int, channels_in: int, channels: int, points_in: int, points: int) -> Layer:
        multiply_adds = kernel * kernel * channels_in * channels * points
        return Layer(stage, multiply_adds, channels_in * points_in, channels * points)

    channels_in = CHANNELS[0]
    yield convolution(0, 7, 1, channels_in, frames * bands, frames * bands)
    for stage, (count, channels) in enumerate(zip(BLOCKS, CHANNELS, strict=True), 1):
        for index in range(count):
            before = frames * bands
            if stage > 1 and index == 0:
                frames, bands = (frames + 1) // 2, (bands + 1) // 2
            points = frames * bands
            yield convolution(stage, 3, channels_in, channels, before, points)
            yield convolution(stage, 3, channels, channels, points, points)
            if channels_in != channels:
                yield convolution(stage, 1, channels_in, channels, before, points)
            yield Layer(stage, 0, 2 * channels * points, channels * points)
            channels_in = channels
    pooled = HEADS * channels_in
    yield Layer(5, frames * pooled * 2 + pooled * EMBEDDING, 0, 0)  # distances, weighted means, the linear layer


def totals(lengths: list[int]) -> tuple[int, int]:
    """Operations and elements moved for examples of these lengths."""
    layers = [layer for length in lengths for layer in network(length)]
    return sum(layer.operations for layer in layers), sum(layer.elements_moved for layer in layers)


def ceilings(device: torch.device) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """Products in each precision and a copy, and the operations or bytes of each."""
    size, copied = _SIZES[device.type]
    actions: dict[str, Callable[[], object]] = {}
    work: dict[str, int] = {}
    for precision in precisions(device):
        a, b = (torch.randn(size, size, device=device).to(_DTYPES[precision]) for _ in range(2))
        actions[f"product {precision}"] = lambda a=a, b=b: a @ b
        work[f"product {precision}"] = 2 * size**3
    source = torch.randn(copied // 4, device=device)
    target = torch.empty_like(source)
    actions["copy"] = lambda: target.copy_(source)
    work["copy"] = 2 * copied  # read and written
    return actions, work


def main() -> None:
    args = parse_options(__doc__, 128, 5)
    device = set_up_device(args.device)
    with features(args.data, args.utterances) as folder:
        plans, store, classes = our_data(folder, device, args.batch_size)
        plan = next(plans.epoch(1))
        batch = store.batch(plan)
    actions, work = ceilings(device)
    lengths = batch[1].tolist()
    operations, elements = totals(lengths)
    for precision in precisions(device):
        loop = OurLoop(len(classes), device, precision)
        loop.step(plan, batch)  # to warm up
        actions[f"step {precision}"] = lambda loop=loop: loop.step(plan, batch)
    for action in actions.values():
        action()
    times = {name: statistics.median(t) for name, t in interleaved(actions, args.rounds, device).items()}
    copy_rate = work["copy"] / times["copy"]

    mean = round(sum(lengths) / len(lengths))
    names = ["stem", "stage 1", "stage 2", "stage 3", "stage 4", "pooling, linear"]
    count = []
    for stage, name in enumerate(names):
        layers = [layer for layer in network(mean) if layer.stage == stage]
        count.append([name, f"{sum(layer.operations for layer in layers) / 1e9:.3f}",
                      f"{sum(layer.elements_moved for layer in layers) / 1e6:.2f}"])
    count.append(["all", f"{totals([mean])[0] / 1e9:.3f}", f"{totals([mean])[1] / 1e6:.2f}"])

    shares = []
    for precision in precisions(device):
        step, moved = times[f"step {precision}"], elements * _DTYPES[precision].itemsize
        product_rate = work[f"product {precision}"] / times[f"product {precision}"]
        floor = max(operations / product_rate, moved / copy_rate)
        shares.append([
            precision, f"{1e3 * step:.1f}", f"{operations / step / 1e9:.0f}", f"{product_rate / 1e9:.0f}",
            f"{100 * operations / step / product_rate:.1f} %", f"{moved / step / 1e9:.1f}", f"{copy_rate / 1e9:.1f}",
            f"{100 * moved / step / copy_rate:.1f} %", f"{step / floor:.1f}",
        ])
    report(
        "Ceiling", device,
        [f"A step on a batch of {len(lengths)} in memory, {source_name(args.data)}, {sum(lengths)} frames; medians of",
         f"{args.rounds} rounds that take turns. Product of matrices of {_SIZES[device.type][0]}; copy of",
         f"{_SIZES[device.type][1] >> 20} MB, read and written. The floor is the slower of the two alone."],
        markdown([f"an example of {mean} frames", "Gop", "million elements moved"], count),
        markdown(["a step in", "ms", "Gop/s", "product's Gop/s", "share", "GB/s", "copy's GB/s",
                  "share of the copy's", "times the floor"], shares),
    )


if __name__ == "__main__":
    run_main(main)
