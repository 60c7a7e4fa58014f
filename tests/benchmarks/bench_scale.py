#!/usr/bin/env python3
"""Training sets of millions of utterances: seconds and memory up to a batch, and what reading from a file costs.

Writes the index of a packed set of N utterances (lengths like VoxCeleb's, 7000 speakers) beside a frames.bin that is
all hole and takes no disk, opens it as training does, and prints time and peak memory after every step. With --packed
it also times batches out of that set's file, after the kernel has dropped it from memory and when it has it there.

Usage: python3 tests/benchmarks/bench_scale.py [--utterances N] [--window N] [--batches N] [--packed DIR]
"""

from __future__ import annotations

import argparse
import itertools
import json
import mmap
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from common import markdown

from ser.augment.copypaste import CopyPaste
from ser.base.errors import run_main
from ser.features.packed import Pack
from ser.features.store import FeatureStore

_SPEAKERS, _DIM = 7000, 23
_CPU = torch.device("cpu")


def write_index(folder: Path, count: int) -> None:
    """A packed set of `count` utterances, whose frames are holes in a file."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.gamma(3.5, 220, count), 200, 6000).astype(np.int32)
    np.save(folder / "lengths.npy", lengths)
    speakers = np.sort(random.integers(0, _SPEAKERS, count)).astype(np.int32)
    names = [f"id{speaker:05d}" for speaker in range(_SPEAKERS)]
    np.savez(folder / "utt2spk.npz", classes=names, indices=speakers)
    with open(folder / "utterances", "w", encoding="utf-8") as file:
        file.writelines(f"{names[speaker]}-{number:011d}-00001\n" for number, speaker in enumerate(speakers))
    total = int(lengths.sum(dtype=np.int64))
    with open(folder / "frames.bin", "wb") as file:
        file.truncate(total * _DIM * 2)
    summary = {"format": 1, "dtype": "float16", "utterances": count, "frames": total, "dim": _DIM,
               "tables": {"utt2spk": _SPEAKERS}, "digest": "of nothing", "made_from": "nothing"}
    (folder / "packed.json").write_text(json.dumps(summary))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def planner(packed: Pack, store: FeatureStore, window: int) -> CopyPaste:
    return CopyPaste(packed.labels("utt2spk")[1], store.lengths, "none", None, window=window, short_utt="repeat")


def of_an_index(folder: Path, window: int, batches: int) -> list[list[str]]:
    """What training does up to its first batches; a row of the table for each step."""
    rows = [["interpreter and libraries", "", f"{peak_mb():.0f}"]]

    @contextmanager
    def step(name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        rows.append([name, f"{time.perf_counter() - started:.2f}", f"{peak_mb():.0f}"])

    with step("open the set"):
        store = FeatureStore.load([folder], _CPU)
    with step("read labels, make the planner"):
        plans = planner(Pack(folder), store, window)
    with step("plan the first batch"):
        epoch = plans.epoch(1)
        plan = next(epoch)
    with step("gather it"):
        store.batch(plan)
    with step(f"plan and gather {batches} more"):
        for plan in itertools.islice(epoch, batches):
            if plan.ahead is not None:
                store.prefetch(plan.ahead)
            store.batch(plan)
    with step(f"plan an epoch, {plans.batches_per_epoch} batches"):
        for _ in plans.epoch(2):
            pass
    with step("take it up at the last batch"):
        list(plans.epoch(2, plans.batches_per_epoch - 1))
    return rows


def of_a_file(folder: Path, window: int, batches: int) -> list[list[str]]:
    """Milliseconds a batch takes to ask ahead and gather, by where the features are."""
    packed, mapped = Pack(folder), FeatureStore.load([folder], _CPU)
    resident = FeatureStore(mapped.utterances, mapped.lengths, mapped.frames.clone(), _CPU)

    def times(store: FeatureStore, window: int) -> Iterator[float]:
        for plan in itertools.islice(planner(packed, store, window).epoch(1), batches):
            started = time.perf_counter()
            if plan.ahead is not None:
                store.prefetch(plan.ahead)
            store.batch(plan)
            yield 1e3 * (time.perf_counter() - started)

    rows = []
    for name, store, size in (
        ("in memory", resident, 0),
        ("mapped, on disk", mapped, 0),
        ("mapped, just read", mapped, 0),
        (f"mapped, on disk, window {window}", mapped, window),
    ):
        if "on disk" in name:
            forget(packed, mapped)
        taken = list(times(store, size))
        rows.append([name, *(f"{value:.2f}" for value in (statistics.median(taken), np.mean(taken), max(taken)))])
    return rows


def forget(*maps: Pack | FeatureStore) -> None:
    """Have the kernel drop a packed set's file from its memory, which it does with pages that no process has mapped."""
    for holder in maps:
        mapping = holder.mapping if isinstance(holder, Pack) else holder._file._mapping
        mapping.madvise(mmap.MADV_DONTNEED)
    with open(maps[0].folder / "frames.bin", "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def alone(function: Callable, *args: object):
    """The function's result, from a process of its own, so that the memory it takes is its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(function, *args).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=5_000_000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--window", type=int, default=20_000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--batches", type=int, default=500, metavar="N", help="batches gathered (default: %(default)s)")
    parser.add_argument("--packed", type=Path, metavar="DIR", help="a packed set with utt2spk, to time batches of")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone(write_index, folder, args.utterances)
        size = (folder / "frames.bin").stat().st_size
        for window in (0, args.window):
            rows = alone(of_an_index, folder, window, args.batches)
            print(f"## {args.utterances} utterances, {size / 1e9:.0f} GB of features, window {window}\n")
            print(markdown(["step", "s", "peak memory, MB"], rows) + "\n", flush=True)
    if args.packed:
        size = (args.packed / "frames.bin").stat().st_size
        rows = of_a_file(args.packed, args.window, args.batches)
        print(f"## Batches of 128 out of {args.packed.name}, {size / 1e9:.2f} GB\n")
        print(markdown(["features", "median ms", "mean ms", "longest ms"], rows))


if __name__ == "__main__":
    run_main(main)
