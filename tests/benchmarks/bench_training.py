#!/usr/bin/env python3
"""Training: examples a second of whole epochs beside a plain DataLoader loop, and what preparing batches costs.

Epochs of n+se-cp over the same utterances take turns: the loop of peer_loop.py, in a process of its own, and ours in
float32 and, where the device multiplies it natively, bf16. Then the same steps of ours on batches that are in memory,
planned and gathered beforehand: the floor of the pipeline; and planning and gathering alone.

Usage: python3 tests/benchmarks/bench_training.py [--data DIR] [--utterances N] [--rounds N] [--device D] [--workers N]
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import features, interleaved, markdown, parse_options, ratio, report, seconds, source_name
from peer_loop import PeerProcess
from torch import Tensor

from ser.augment.copypaste import BatchPlan, CopyPaste
from ser.base.errors import run_main
from ser.base.kaldi_tables import read_table
from ser.base.progress import progress
from ser.features.store import FeatureStore
from ser.nets.resnet import ResNet34
from ser.training.device import resolve_precision, set_up_device


class OurLoop:
    """The step of ser.training, on planned batches."""

    def __init__(self, classes: int, device: torch.device, precision: str) -> None:
        self.device, self.precision = device, precision
        torch.manual_seed(0)
        self.model = ResNet34(classes).to(device, memory_format=torch.channels_last).train()
        self.optimiser = torch.optim.Adam(self.model.parameters())

    def step(self, plan: BatchPlan, batch: tuple[Tensor, Tensor]) -> None:
        labels = torch.from_numpy(plan.labels).to(self.device, non_blocking=True)
        logits = self.logits(batch)
        self.optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(logits.float(), labels).backward()
        self.optimiser.step()

    def logits(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.model(*batch)

    def epoch(self, plans: CopyPaste, store: FeatureStore, number: int) -> None:
        for plan in plans.epoch(number):
            self.step(plan, store.batch(plan))


def precisions(device: torch.device) -> list[str]:
    """Those that the device computes natively."""
    return list(dict.fromkeys(["fp32", resolve_precision("auto", device)]))


def our_data(folder: Path, device: torch.device, batch_size: int) -> tuple[CopyPaste, FeatureStore, list[str]]:
    """Planner, store and classes of a data directory."""
    store = FeatureStore.load([folder], device)
    emotions = read_table(folder / "utt2emo")
    classes = sorted(set(emotions.values()))
    labels = np.array([classes.index(emotions[utterance]) for utterance in store.utterances])
    plans = CopyPaste(labels, store.lengths, "n+se-cp", classes.index("neutral"), batch_size)
    return plans, store, classes


def main() -> None:
    def workers(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--workers", type=int, default=2, help="of the peer's DataLoader (default: %(default)s)")

    args = parse_options(__doc__, 384, 3, workers)
    device = set_up_device(args.device)
    with features(args.data, args.utterances) as folder:
        plans, store, classes = our_data(folder, device, args.batch_size)
        ours = {precision: OurLoop(len(classes), device, precision) for precision in precisions(device)}
        with PeerProcess(folder, classes, args.batch_size, args.workers, device) as peer:
            measure(args, device, plans, store, peer, ours)


def measure(
    args: argparse.Namespace,
    device: torch.device,
    plans: CopyPaste,
    store: FeatureStore,
    peer: PeerProcess,
    ours: dict[str, OurLoop],
) -> None:
    ready = [(plan, store.batch(plan)) for plan in plans.epoch(1)]
    for plan, batch in ready[:2]:  # to warm up
        for loop in ours.values():
            loop.step(plan, batch)
    for index in range(len(peer.lengths[:2])):
        peer.step(index)

    peer_name = f"plain loop, fp32, {args.workers} workers"
    names = {precision: f"ours, {precision}" for precision in ours}
    actions = {peer_name: peer.epoch}
    for precision, loop in ours.items():
        actions[names[precision]] = lambda loop=loop: loop.epoch(plans, store, 1)
    epochs = interleaved(actions, args.rounds, device)

    speeds = []
    for name, times in epochs.items():
        per_second = len(store.utterances) / statistics.median(times)
        speeds.append([name, f"{per_second:.1f}", f"{ratio(epochs[peer_name], times):.2f}"])

    loop = list(ours.values())[-1]  # the precision that training takes
    steps: dict[str, list[list[float]]] = {name: [[] for _ in ready] for name in ("ready", "made", "gather", "peer")}
    turns = args.rounds * list(enumerate(ready))
    for index, (plan, batch) in progress(turns, len(turns), "measuring steps", "batches"):
        taking_turns = {
            "ready": lambda plan=plan, batch=batch: loop.step(plan, batch),
            "made": lambda plan=plan: loop.step(plan, store.batch(plan)),
            "gather": lambda plan=plan: store.batch(plan),
            "peer": lambda index=index: peer.step(index),
        }
        for name, action in taking_turns.items():
            steps[name][index].append(seconds(action, device))
    planning = statistics.median(seconds(lambda: list(plans.epoch(1)), device) for _ in range(5)) / len(ready)
    step, made, gather, peer_step = (statistics.fmean(map(statistics.median, steps[name])) for name in steps)
    costs = [
        ["plain loop, fp32: a step on a batch in memory", f"{1e3 * peer_step:.1f}", ""],
        [f"ours, {loop.precision}: a step on a batch in memory", f"{1e3 * step:.1f}", "100.0 %"],
        ["with the batch gathered on the fly", f"{1e3 * made:.1f}", f"{100 * made / step:.1f} %"],
        ["planning alone", f"{1e3 * planning:.2f}", f"{100 * planning / step:.2f} %"],
        ["gathering alone", f"{1e3 * gather:.2f}", f"{100 * gather / step:.2f} %"],
        ["planning and gathering", f"{1e3 * (planning + gather):.2f}", f"{100 * (planning + gather) / step:.2f} %"],
    ]
    frames = sum(len(batch[0]) for _, batch in ready)
    size = len(store.utterances)
    report(
        "Training", device,
        [f"{size} utterances, {source_name(args.data)}, {len(ready)} batches, n+se-cp; medians of {args.rounds} rounds",
         f"that take turns. An example has {frames / size:.0f} frames on average; the plain loop pads it to "
         f"{sum(peer.lengths) / size:.0f}."],
        markdown(["whole epochs", "examples/s", "ratio to the plain loop"], speeds),
        markdown(["one batch", "ms", "share of a step of ours"], costs),
    )


if __name__ == "__main__":
    run_main(main)
