#!/usr/bin/env python3
"""What CopyPaste on the fly costs a training step.

Times the same training steps twice, taking turns, on batches of n+se-cp: once planned and gathered from the feature
store as training does it, once on batches that were gathered beforehand. Prints the ratio, and the share of planning
and gathering alone. Utterances have random features and the lengths of voiced acted speech (about 2 s).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from ser.copypaste import BatchPlan, CopyPaste
from ser.errors import run_main
from ser.model import ResNet34
from ser.options import PRECISIONS
from ser.store import FeatureStore
from ser.training import pick_device, resolve_precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=1024, help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times each batch is taken (default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="(default: %(default)s)")
    args = parser.parse_args()
    device = pick_device(args.device)
    precision = resolve_precision(args.precision, device)
    random = np.random.default_rng(0)
    lengths = random.gamma(8, 25, args.utterances).astype(int).clip(30, 600)
    frames = torch.from_numpy(random.standard_normal((int(lengths.sum()), 23), dtype=np.float32))
    store = FeatureStore([f"utt{n}" for n in range(args.utterances)], lengths, frames, device)
    plans = CopyPaste(random.integers(0, 4, args.utterances), lengths, "n+se-cp", 2, args.batch_size)

    torch.manual_seed(0)
    model = ResNet34(4).to(device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.Adam(model.parameters())

    def wait() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def step(plan: BatchPlan, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        labels = torch.from_numpy(plan.labels).to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = model(*batch)
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(logits.float(), labels).backward()
        optimiser.step()

    def timed(action: Callable[[], None]) -> float:
        started = wait()
        action()
        return wait() - started

    ready = [(plan, store.batch(plan)) for plan in plans.epoch(1)]
    for plan, batch in ready[:2]:
        step(plan, batch)
    resident, on_the_fly, preparing = [], [], []
    for _ in range(args.rounds):
        fresh = plans.epoch(1)
        for plan, batch in ready:
            resident.append(timed(lambda plan=plan, batch=batch: step(plan, batch)))

            def planned_and_gathered() -> None:
                planned = next(fresh)  # noqa: B023 - called at once
                step(planned, store.batch(planned))

            on_the_fly.append(timed(planned_and_gathered))
            preparing.append(timed(lambda plan=plan: store.batch(plan)))
    planning = timed(lambda: list(plans.epoch(1))) / len(ready)
    ratios = [a / b for a, b in zip(on_the_fly, resident, strict=True)]
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    step_time = statistics.median(resident)
    print(f"{name}, {precision}, batches of {len(ready[0][0])}, {len(ready)} batches, {args.rounds} rounds")
    print(f"a step on a batch in memory         {1e3 * step_time:9.2f} ms")
    print(f"a step with CopyPaste on the fly    {1e3 * statistics.median(on_the_fly):9.2f} ms")
    print(f"ratio, median of pairs              {statistics.median(ratios):9.4f}")
    print(f"planning, share of a step           {planning / step_time:9.4f}")
    print(f"gathering, share of a step          {statistics.median(preparing) / step_time:9.4f}")


if __name__ == "__main__":
    run_main(main)
