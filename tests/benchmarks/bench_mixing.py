#!/usr/bin/env python3
"""Noisy copies: mixing noise into speech in memory, beside audiomentations and torch-audiomentations, on one thread.

Every pass draws a noise for each recording, reads it at the recipe's 8 kHz and mixes it in at 5 dB. Recordings are in
memory at 8 kHz; noise files are read by each library in its own way, with the cache it has: the first pass meets it
empty, later ones as it is left. Ours also brings the mix to the power of the speech, as Kaldi does, and begins at a
sample that is no digital silence; the others do neither. A library that is not installed, or does not run with what
is, is named with the reason. Beside them the arithmetic alone, with the noise in memory: ours.

Usage: python3 tests/benchmarks/bench_mixing.py [--corpus-dir DIR] [--noise-dir DIR] [--recordings N] [--rounds N]
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from common import markdown, report

from ser.data.audio import resample
from ser.features.noise import NoiseReader, draw_noise, mix

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = Path(os.environ.get("SER_SHARED", ROOT.parent / "shared"))
RATE, SNR = 8000, 5.0


def ours(speech: list[np.ndarray], noises: list[Path]) -> Callable[[], object]:
    names, reader, passes = {path.stem: str(path) for path in noises}, NoiseReader(RATE), itertools.count()

    def one_pass() -> None:
        purpose = str(next(passes))  # other draws in every pass, as in every copy
        for index, samples in enumerate(speech):
            spec = draw_noise(names, f"utt{index}", len(samples) / RATE, SNR, purpose, 0)
            mix(samples, reader.read(spec, len(samples)), SNR)

    return one_pass


def ours_in_memory(speech: list[np.ndarray], noises: list[Path]) -> Callable[[], object]:
    noise = NoiseReader(RATE).read(draw_noise({"noise": str(noises[0])}, "utt", 20.0, SNR, "", 0), 20 * RATE)
    return lambda: [mix(samples, noise[: len(samples)], SNR) for samples in speech]


def audiomentations(speech: list[np.ndarray], noises: list[Path]) -> Callable[[], object]:
    from audiomentations import AddBackgroundNoise

    transform = AddBackgroundNoise(list(map(str, noises)), min_snr_db=SNR, max_snr_db=SNR, p=1.0)
    scaled = [samples / 32768 for samples in speech]
    transform(samples=scaled[0], sample_rate=RATE)  # imports what it needs
    return lambda: [transform(samples=samples, sample_rate=RATE) for samples in scaled]


def torch_audiomentations(speech: list[np.ndarray], noises: list[Path]) -> Callable[[], object]:
    from torch_audiomentations import AddBackgroundNoise

    transform = AddBackgroundNoise(
        list(map(str, noises)), min_snr_in_db=SNR, max_snr_in_db=SNR, p=1.0, sample_rate=RATE, output_type="dict"
    )
    scaled = [torch.from_numpy(samples / 32768)[None, None] for samples in speech]
    transform(scaled[0])
    return lambda: [transform(samples) for samples in scaled]


def cpu_seconds(action: Callable[[], object]) -> float:
    """Of this process: what a core of one's own needs, whoever shares the machine."""
    begin = time.process_time()
    action()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus-dir", type=Path, default=SHARED / "data/ravdess", help="folder of WAV files")
    parser.add_argument("--noise-dir", type=Path, default=SHARED / "data/musan/noise", help="folder of WAV files")
    parser.add_argument("--recordings", type=int, default=200, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="passes, at least 2 (default: %(default)s)")
    args = parser.parse_args()
    files = sorted(args.corpus_dir.rglob("*.wav"))[: args.recordings]
    noises = sorted(args.noise_dir.rglob("*.wav"))
    if not files or not noises:
        sys.exit(f"no WAV files in {args.corpus_dir} or {args.noise_dir}; name folders with --corpus-dir, --noise-dir")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the peers' about versions and shapes to come
    speech = []
    for path in files:
        samples, rate = soundfile.read(path, dtype="int16")
        speech.append(resample(samples.reshape(len(samples), -1).mean(1).astype(np.float32), rate, RATE))

    ways: dict[str, Callable[[], object]] = {}
    absent = []
    for name, make in {
        "ours": ours, "audiomentations": audiomentations, "torch-audiomentations": torch_audiomentations,
        "ours, noise in memory": ours_in_memory,
    }.items():
        try:
            ways[name] = make(speech, noises)
        except Exception as error:  # whatever keeps a peer from running is its result
            if make in (ours, ours_in_memory):
                raise
            absent.append(f"{name} not measured: {type(error).__name__}: {error}.")
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(max(2, args.rounds)):
        turn = number % len(ways)
        for name in [*list(ways)[turn:], *list(ways)[:turn]]:
            times[name].append(cpu_seconds(ways[name]))
    scale = 1e3 / len(speech)
    later = {name: statistics.median(t[1:]) for name, t in times.items()}
    rows = [
        [name, f"{scale * t[0]:.2f}", f"{scale * later[name]:.2f}", f"{t[0] / times['ours'][0]:.2f}",
         f"{later[name] / later['ours']:.2f}"]
        for name, t in times.items()
    ]
    hours = sum(map(len, speech)) / RATE / 3600
    report(
        "Noisy mixes", torch.device("cpu"),
        [f"{len(speech)} recordings, {hours:.2f} h, at {RATE} Hz; {len(noises)} noise files; processor time on one",
         f"thread, median of {max(2, args.rounds) - 1} passes after the first.", *absent],
        markdown(["", "first pass, ms a recording", "later", "first, ratio to ours", "later"], rows),
    )


if __name__ == "__main__":
    main()
