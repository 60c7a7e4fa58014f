"""What the benchmarks share: command-line options, data, clocks that wait for the device, Markdown tables."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import kaldiio
import numpy as np
import torch

from ser.base.kaldi_tables import read_table, write_table
from ser.base.progress import progress
from ser.data.arks import ArkWriter

CLASSES = ("angry", "happy", "neutral", "sad")
BANDS = 23
RAVDESS_UTTERANCES = 864
RATE = 16000  # Hz, of the recordings there
SHARED = Path(os.environ.get("SER_SHARED", Path(__file__).resolve().parents[3] / "shared"))


def parse_options(
    description: str, utterances: int, rounds: int, more: Callable[[argparse.ArgumentParser], object] | None = None
) -> argparse.Namespace:
    """The options that all benchmarks of the network have, and a benchmark's own; sets the threads that torch uses."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, metavar="DIR",
        help="data directory with voiced features and utt2emo (default: random features, as long as RAVDESS's)",
    )
    parser.add_argument(
        "--utterances", type=int, default=utterances, metavar="N",
        help="utterances used, going round those of --data (default: %(default)s)",
    )
    parser.add_argument("--rounds", type=int, default=rounds, metavar="N", help="medians of N (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser.add_argument("--threads", type=int, default=cores, metavar="N", help="of torch on the CPU (default: cores)")
    if more:
        more(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    return args


@contextmanager
def features(source: Path | None, utterances: int) -> Iterator[Path]:
    """A scratch data directory (feats.scp, utt2num_frames, utt2emo) with `utterances` utterances, each with frames of
    its own on disk: those of `source`, again and again as needed, or random ones."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
            frames, emotions = {}, {}
            for utterance, matrix, emotion in _examples(source, utterances):
                writer.write(utterance, matrix)
                frames[utterance], emotions[utterance] = str(len(matrix)), emotion
        write_table(folder / "utt2num_frames", frames)
        write_table(folder / "utt2emo", emotions)
        yield folder


def _examples(source: Path | None, count: int) -> Iterator[tuple[str, np.ndarray, str]]:
    random = np.random.default_rng(0)
    if source is None:
        for index in range(count):
            matrix = random.standard_normal((_like_ravdess(random), BANDS), dtype=np.float32)
            yield f"utt{index:07d}", matrix, CLASSES[index % len(CLASSES)]  # all of them, however few utterances
        return
    matrices, emotions = kaldiio.load_scp(str(source / "feats.scp")), read_table(source / "utt2emo")
    order = random.permutation(sorted(matrices))  # so that fewer than all are a sample of all
    for index in range(count):
        utterance = str(order[index % len(order)])
        yield f"utt{index:07d}", np.array(matrices[utterance], np.float32), emotions[utterance]


def recordings(count: int) -> list[np.ndarray]:
    """Waveforms at int16 scale: RAVDESS's, spread over its speakers, or noise of 3 to 5 s where it is not."""
    import soundfile  # which a machine that only measures networks may lack

    files = sorted((SHARED / "data/ravdess").glob("Actor_*/*.wav"))
    if files:
        chosen = files[:: max(1, len(files) // count)][:count]
        return [soundfile.read(file, dtype="int16", always_2d=True)[0][:, 0].astype(np.float32) for file in chosen]
    random = np.random.default_rng(0)
    return [3000 * random.standard_normal(int(seconds * RATE), np.float32) for seconds in random.uniform(3, 5, count)]


def _like_ravdess(random: np.random.Generator) -> int:
    """Voiced frames of an utterance: RAVDESS's 864 have mean 191, deciles 149 and 235, extremes 117 and 308."""
    return int(np.clip(random.normal(190.5, 34), 117, 308))


def source_name(source: Path | None) -> str:
    return "random features of RAVDESS's lengths" if source is None else f"features of {source.name}"


def seconds(action: Callable[[], object], device: torch.device) -> float:
    """Wall-clock time of an action, all it started on the device included."""
    _wait(device)
    begin = time.perf_counter()
    action()
    _wait(device)
    return time.perf_counter() - begin


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    actions: Mapping[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of every action in every round. They take turns, each round beginning with another one, so that what
    else the machine is doing strikes all alike."""
    names = list(actions)
    times: dict[str, list[float]] = {name: [] for name in names}
    turns = [name for turn in range(rounds) for name in names[turn % len(names) :] + names[: turn % len(names)]]
    for name in progress(turns, len(turns), "measuring", "turns"):
        times[name].append(seconds(actions[name], device))
    return times


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others are right-aligned."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def report(title: str, device: torch.device, notes: Sequence[str], *tables: str) -> None:
    """Print a section of the report."""
    print("\n\n".join([f"## {title}", f"{machine(device)}. " + " ".join(notes), *tables]) + "\n", flush=True)


def machine(device: torch.device) -> str:
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    processor = f"{_processor()}, {torch.get_num_threads()} of {os.cpu_count()} cores"
    where = f"{torch.cuda.get_device_name(device)}, {processor}" if device.type == "cuda" else processor
    return f"{where}, torch {torch.__version__}{load}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "CPU"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")
