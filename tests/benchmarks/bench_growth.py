#!/usr/bin/env python3
"""Growth: time and peak memory of training as the corpus grows to 2, 4, 8 and 16 times its size.

Every size runs in a process of its own, sizes taking turns: the features are loaded, a whole epoch of n+se-cp is
planned and gathered, and `--steps` batches of it (0: all) are trained on, planned and gathered on the fly; the median
step counts, and an epoch has as many as it has batches. Peak memory is the process's (resident set), and on a GPU also
what torch allocated there. Exponents are the slope between the smallest and the largest size on logarithmic scales: 1
is linear.

Usage: python3 tests/benchmarks/bench_growth.py [--data DIR] [--sizes "1 2 4 8 16"] [--steps N] [--png FILE] …
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from bench_training import OurLoop, our_data
from common import RAVDESS_UTTERANCES, features, markdown, parse_options, report, seconds, source_name

from ser.base.errors import run_main
from ser.training.device import resolve_precision, set_up_device

_MB = 1 << 20


def main() -> None:
    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--sizes", default="1 2 4 8 16", help="multiples of --utterances (default: %(default)s)")
        parser.add_argument("--steps", type=int, default=3, metavar="N", help="batches trained on (default: 3)")
        parser.add_argument("--png", type=Path, default=Path("growth.png"), help="figure (default: %(default)s)")
        parser.add_argument("--measure", type=Path, metavar="DIR", help=argparse.SUPPRESS)

    args = parse_options(__doc__, RAVDESS_UTTERANCES, 1, more)
    if args.measure:
        print(json.dumps(measure(args.measure, set_up_device(args.device), args.batch_size, args.steps)))
        return
    found: dict[int, list[dict[str, float]]] = {args.utterances * int(size): [] for size in args.sizes.split()}
    for _, utterances in itertools.product(range(args.rounds), found):
        with features(args.data, utterances) as folder:
            command = [
                sys.executable, __file__, "--measure", folder, "--device", args.device, "--steps", args.steps,
                "--batch-size", args.batch_size, "--threads", args.threads,
            ]
            child = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
        found[utterances].append(json.loads(child.stdout.splitlines()[-1]))
    rows = [
        {"utterances": utterances} | {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for utterances, runs in found.items()
    ]
    draw(args.png, rows, args.device)
    write(args, rows)


def measure(folder: Path, device: torch.device, batch_size: int, steps: int) -> dict[str, float]:
    """What one process needs for a corpus; seconds and bytes."""
    start = _resident_bytes()
    loaded: list = []
    load = seconds(lambda: loaded.extend(our_data(folder, device, batch_size)), device)
    plans, store, classes = loaded
    loop = OurLoop(len(classes), device, resolve_precision("auto", device))

    def prepare() -> None:
        for plan in plans.epoch(1):
            store.batch(plan)

    prepare_epoch = seconds(prepare, device)
    batches = list(plans.epoch(1))
    chosen = batches[: steps or len(batches)]
    for plan in batches[:2]:  # to warm up
        loop.step(plan, store.batch(plan))
    step = statistics.median(
        seconds(lambda plan=plan: loop.step(plan, store.batch(plan)), device) for plan in chosen
    )
    return {
        "load": load, "prepare": prepare_epoch, "step": step, "epoch": step * len(batches),
        "examples": sum(map(len, chosen)) / len(chosen) / step,
        "features": store.frames.nbytes, "start": start, "peak": _peak_bytes(),
        "kept": max(_kept_bytes(loop, store.batch(plan)) for plan in chosen),
        "gpu": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
    }


def _kept_bytes(loop: OurLoop, batch: tuple[torch.Tensor, torch.Tensor]) -> int:
    """What the forward pass of a batch keeps for the backward pass, each storage counted once."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = loop.logits(batch)
    del logits  # not before everything is counted: freed storages would be reused
    return sum(kept.values())


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _resident_bytes() -> int:
    return _peak_bytes()  # so early, the peak is what imports hold


def write(args: argparse.Namespace, rows: Sequence[dict[str, float]]) -> None:
    device = set_up_device(args.device)
    table = []
    for row in rows:
        above = row["peak"] - (row["features"] if device.type == "cpu" else 0)
        cells = [
            f"{row['utterances']}", f"{row['load']:.2f}", f"{row['prepare']:.3f}", f"{row['epoch']:.1f}",
            f"{row['examples']:.1f}", f"{row['features'] / _MB:.0f}", f"{row['peak'] / _MB:.0f}", f"{above / _MB:.0f}",
            f"{row['kept'] / _MB:.0f}",
        ]
        table.append([*cells, f"{row['gpu'] / _MB:.0f}"] if device.type == "cuda" else cells)
    header = ["utterances", "load, s", "plan and gather an epoch, s", "an epoch, s", "examples/s", "features, MB",
              "peak memory, MB", "of it beyond features", "kept for the backward pass, MB"]
    first, last = rows[0], rows[-1]
    exponents = ""
    if len(rows) > 1:
        growth = math.log(last["utterances"] / first["utterances"])
        slopes = {key: math.log(last[key] / first[key]) / growth for key in ("load", "prepare", "epoch")}
        exponents = (f"Exponents of growth: loading {slopes['load']:.2f}, planning and gathering "
                     f"{slopes['prepare']:.2f}, an epoch {slopes['epoch']:.2f}.")
    epoch = f"{args.steps} of the epoch's batches" if args.steps else "all of the epoch's batches"
    report(
        "Growth", device,
        [f"Corpus: {source_name(args.data)}, again and again; {epoch} of {args.batch_size} trained on;",
         f"medians of {args.rounds}. Imports alone hold {first['start'] / _MB:.0f} MB. {exponents}",
         f"Figure: {args.png.name}."],
        markdown(header + (["GPU, MB"] if device.type == "cuda" else []), table),
    )


def draw(path: Path, rows: Sequence[dict[str, float]], device: str) -> None:
    from matplotlib.figure import Figure

    sizes = [row["utterances"] for row in rows]
    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    speed, memory = figure.subplots(1, 2)
    speed.plot(sizes, [row["examples"] for row in rows], "o-", color="#0072B2")
    speed.set(title="training", ylabel="examples per second", ylim=(0, None))
    features = [row["features"] / _MB for row in rows]
    memory.plot(sizes, [row["peak"] / _MB for row in rows], "o-", color="#D55E00", label="peak (resident)")
    if any(row["gpu"] for row in rows):
        memory.plot(sizes, [row["gpu"] / _MB for row in rows], "s-", color="#009E73", label="peak (GPU)")
    memory.plot(sizes, features, "--", color="#777777", label="features")
    memory.plot(sizes, [size + 1024 for size in features], ":", color="#777777", label="features + 1 GB")
    memory.set(title="memory", ylabel="MB", ylim=(0, None))
    memory.legend(frameon=False)
    for axes in (speed, memory):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, map(str, sizes))
        axes.minorticks_off()
        axes.set_xlabel("utterances")
        axes.grid(color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


if __name__ == "__main__":
    run_main(main)
