#!/usr/bin/env python3
"""Evaluation: utterances a second in batches of like lengths, beside one at a time and beside padded batches.

All in float32, on whole utterances, untrained weights. The padded batches are those of the plain loop (peer_loop.py):
its network and DataLoader, utterances in the order of the data.

Usage: python3 tests/benchmarks/bench_evaluation.py [--data DIR] [--utterances N] [--rounds N] [--device D]
"""

from __future__ import annotations

import statistics

import numpy as np
import torch
from bench_training import our_data
from common import features, interleaved, markdown, parse_options, ratio, report, source_name
from peer_loop import ArkDataset, Collate, PaddedResNet34
from torch.utils.data import DataLoader

from ser.base.errors import run_main
from ser.nets.resnet import ResNet34
from ser.training.device import set_up_device
from ser.training.evaluation import log_posteriors


def main() -> None:
    args = parse_options(__doc__, 256, 3)
    device = set_up_device(args.device)
    with features(args.data, args.utterances) as folder:
        _, store, classes = our_data(folder, device, args.batch_size)
        dataset = ArkDataset(folder, classes)
        loader = DataLoader(
            dataset, batch_sampler=[
                [(index, "none") for index in range(begin, min(begin + args.batch_size, len(dataset)))]
                for begin in range(0, len(dataset), args.batch_size)
            ],
            collate_fn=Collate(classes.index("neutral")), num_workers=2, persistent_workers=True,
        )
        torch.manual_seed(0)
        model = ResNet34(len(classes)).to(device, memory_format=torch.channels_last).eval()
        padded_model = PaddedResNet34(len(classes)).to(device).eval()

        @torch.inference_mode()
        def one_at_a_time() -> np.ndarray:
            rows = [model(*store.whole(np.array([index]))) for index in range(len(store.lengths))]
            return torch.cat(rows).log_softmax(1).cpu().numpy()

        @torch.inference_mode()
        def padded() -> np.ndarray:
            rows = [padded_model(x.to(device), lengths.to(device)) for x, lengths, _ in loader]
            return torch.cat(rows).log_softmax(1).cpu().numpy()

        ways = {
            "ours, batches of like lengths": lambda: log_posteriors(model, store),
            "ours, one at a time": one_at_a_time,
            "plain loop, padded batches": padded,
        }
        apart = np.abs(log_posteriors(model, store) - one_at_a_time()).max()
        padded()  # to warm up
        times = interleaved(ways, args.rounds, device)
    ours = times["ours, batches of like lengths"]
    rows = [[name, f"{len(store.lengths) / statistics.median(t):.1f}", f"{ratio(t, ours):.2f}"]
            for name, t in times.items()]
    report(
        "Evaluation", device,
        [f"{len(store.lengths)} utterances, {source_name(args.data)}, float32; medians of {args.rounds} rounds that",
         f"take turns. Log posteriors in batches and one at a time differ by {apart:.0e} at most."],
        markdown(["", "utterances/s", "time, ratio to ours"], rows),
    )


if __name__ == "__main__":
    run_main(main)
