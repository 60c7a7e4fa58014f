"""Under utils/launch.sh: a training step shared out to processes against the whole one, in float64; prints the errors.

What remains after rounding to 16 digits is a mistake: in float32 a ReLU that rounding switches would hide one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ser.nets.resnet import ResNet34
from ser.training.distributed import World

LENGTHS = (60, 40, 61, 33, 20, 60, 50, 41, 60)  # nine: shares are not equal


def network() -> ResNet34:
    torch.manual_seed(0)
    return ResNet34(4).double().train()


def worst(ours: Iterable[Tensor], whole: Iterable[Tensor]) -> float:
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-9)) for a, b in zip(ours, whole, strict=True))


def check(world: World) -> None:
    torch.manual_seed(1)
    utterances = [torch.randn(length, 23, dtype=torch.float64) for length in LENGTHS]
    labels = torch.randint(0, 4, (len(LENGTHS),))

    def batch(members: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        frames = torch.cat([utterances[member] for member in members])
        return frames, torch.tensor([LENGTHS[member] for member in members]), labels[members]

    whole, shared = network(), network()
    frames, lengths, truth = batch(list(range(len(LENGTHS))))
    expected = F.cross_entropy(whole(frames, lengths), truth)
    expected.backward()

    parallel = world.parallel(shared)
    frames, lengths, truth = batch(list(range(len(LENGTHS)))[world.rank :: world.world_size])
    loss = F.cross_entropy(parallel(frames, lengths), truth, reduction="sum")
    (loss * world.world_size / len(LENGTHS)).backward()
    total = world.sum(np.array([loss.item()]))[0] / len(LENGTHS)
    if world.rank == 0:
        print(json.dumps({
            "processes": world.world_size,
            "loss": abs(total - expected.item()),
            "gradients": worst((p.grad for p in shared.parameters()), (p.grad for p in whole.parameters())),
            "statistics": worst(shared.buffers(), whole.buffers()),
        }))  # fmt: skip


if __name__ == "__main__":
    with World() as world:
        world.join("cpu")
        check(world)
