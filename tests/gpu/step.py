"""A training step: the memory that it takes at its peak, and whether it waits for its operations to be launched."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from bench_training import OurLoop, our_data, precisions
from common import features
from rows import Row


def rows(device: torch.device, quick: bool, folder: Path) -> Iterator[Row]:
    """Yield the lines; the batch is one of n+se-cp, of 128 examples."""
    size = 4 if quick else 128
    with features(None, size) as data:
        plans, store, classes = our_data(data, device, size)
    plan = next(plans.epoch(1))
    for precision in precisions(device):
        loop = OurLoop(len(classes), device, precision)
        batch = store.batch(plan)
        for _ in range(1 if quick else 3):  # to warm up
            loop.step(plan, batch)
        cuda = device.type == "cuda"
        if cuda:
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
        launched, done = [], []
        for _ in range(1 if quick else 10):
            begin = time.perf_counter()
            loop.step(plan, batch)
            launched.append(1e3 * (time.perf_counter() - begin))
            if cuda:
                torch.cuda.synchronize(device)
            done.append(1e3 * (time.perf_counter() - begin))
        issue, whole = statistics.median(launched), statistics.median(done)
        what = f"step of {size} examples, {precision}"
        if cuda:
            peak = torch.cuda.max_memory_allocated(device) / (1 << 20)
            yield Row(f"{what}: peak memory, MB", "", f"{peak:.0f}")
            yield Row(f"{what}: launched in {issue:.1f} ms of {whole:.1f} ms; near 1: bound by launches", "", "",
                      f"{issue / whole:.2f}")
        else:
            yield Row(f"{what}: {whole:.0f} ms; memory and launches are told of a GPU only")
