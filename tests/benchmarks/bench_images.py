#!/usr/bin/env python3
"""Spectrogram images: making them, training on them, and the answer for an utterance, on one thread.

Images are made of blocks of a second in memory at 16 kHz: mixed with noise at 15 dB, drawn, and written to an ark; the
peer mixes alike, and draws with librosa into a PNG of matplotlib's imsave. Processor time of this process.

Training is AlexNet's or SqueezeNet's last layers on the images (random weights: speed does not depend on them) for
--epochs: ours from what the frozen layers made, computed before and counted, ours from images, and a plain DataLoader
loop over the PNG files, in float32, which resizes with Pillow. All three take as many images in a batch.

The answer is that for a recording in a file: reading, resampling, cutting, drawing, the network, the mean posterior.

Usage: python3 tests/benchmarks/bench_images.py [--corpus-dir DIR] [--noise-dir DIR] [--blocks N] [--network NAME] …
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from bench_mixing import cpu_seconds
from common import markdown, ratio, report
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ser.base.kaldi_tables import write_table
from ser.base.progress import progress
from ser.data.arks import ArkWriter
from ser.data.audio import resample
from ser.features.noise import NoiseReader, draw_noise, mix
from ser.features.spectrogram import Spectrogram, SpectrogramOptions
from ser.features.store import FeatureStore
from ser.nets.colours import palette
from ser.training.device import resolve_precision
from ser.training.frozen import FrozenStore
from ser.training.optimiser import freeze, make_optimiser, set_training
from ser.training.options import TrainOptions
from ser.training.systems import SYSTEMS

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = Path(os.environ.get("SER_SHARED", ROOT.parent / "shared"))
RATE, SNR = 16000, 15.0
CPU = torch.device("cpu")


def read_blocks(path: Path) -> list[np.ndarray]:
    """Return the whole seconds of a recording, (RATE,) float32 each, at int16 scale."""
    samples, rate = soundfile.read(path, dtype="int16")
    samples = resample(samples.reshape(len(samples), -1).mean(1).astype(np.float32), rate, RATE)
    return [samples[start : start + RATE] for start in range(0, len(samples) - RATE + 1, RATE)]


def ways_to_draw(blocks: list[np.ndarray], noises: list[Path], folder: Path) -> dict[str, Callable[[], object]]:
    """Return what draws every block once: ours, and what librosa and matplotlib take, if librosa is installed."""
    names, reader = {path.stem: str(path) for path in noises}, NoiseReader(RATE)
    specs = [draw_noise(names, f"block{index}", 1.0, SNR, "", 0) for index in range(len(blocks))]
    spectrogram = Spectrogram(SpectrogramOptions())

    def mixed(index: int) -> np.ndarray:
        return mix(blocks[index], reader.read(specs[index], RATE), SNR)

    def ours(source: Callable[[int], np.ndarray]) -> None:
        with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
            for index in range(len(blocks)):
                writer.write(f"block{index:06d}", spectrogram(source(index)))

    ways = {"ours": lambda: ours(mixed), "ours, clean": lambda: ours(blocks.__getitem__)}
    try:
        import librosa
        from matplotlib.image import imsave
    except ImportError:
        return ways

    def theirs() -> None:
        for index in range(len(blocks)):
            samples = mixed(index)
            samples = samples / np.abs(samples).max()
            spectrum = librosa.stft(samples, n_fft=512, hop_length=62, win_length=256, window="hamming")
            decibels = librosa.power_to_db(np.abs(spectrum) ** 2, ref=np.max)
            imsave(folder / "peer.png", decibels, cmap="jet", origin="lower")

    return {**ways, "librosa and imsave": theirs}


class Pictures(Dataset):
    """PNG files as ImageNet's networks want them."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.open(self.files[index]).convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        return (x - mean[:, None, None]) / deviation[:, None, None], index % 4


class Training:
    """A network with its optimiser, as the recipe trains it, in a precision."""

    def __init__(self, name: str, precision: str, batch: int) -> None:
        config = ROOT / "conf" / f"spectrogram-{name}.yaml"
        options = TrainOptions.read([ROOT / "conf" / "train.yaml", config], {"system": "spectrogram", "network": name})
        torch.manual_seed(0)
        self.network = SYSTEMS["spectrogram"].networks[name].build(257, 4, options)
        freeze(self.network, options)
        set_training(self.network, options)
        self.optimiser, self.precision, self.batch = make_optimiser(self.network, options), precision, batch

    def step(self, forward: Callable[[], Tensor], labels: Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            logits = forward()
        self.optimiser.zero_grad()
        F.cross_entropy(logits.float(), labels).backward()
        self.optimiser.step()

    def epoch(self, store: FeatureStore | FrozenStore) -> None:
        order = np.random.default_rng(0).permutation(len(store.lengths))
        for start in range(0, len(order), self.batch):
            indices = order[start : start + self.batch]
            rows = store.whole(indices)
            self.step(lambda rows=rows: self.network(*rows), torch.from_numpy(indices % 4))

    def plain_epoch(self, files: list[Path]) -> None:
        network = self.network
        pool = getattr(network, "avgpool", nn.Identity())
        for x, labels in DataLoader(Pictures(files), self.batch, shuffle=True):
            self.step(lambda x=x: _plain_forward(network, pool, x), labels)


def _plain_forward(network: nn.Module, pool: nn.Module, x: Tensor) -> Tensor:
    maps = pool(network.features(x))
    dense = any(isinstance(layer, nn.Linear) for layer in network.classifier)
    return network.classifier(maps.flatten(1) if dense else maps).flatten(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus-dir", type=Path, default=SHARED / "data/ravdess", help="folder of WAV files")
    parser.add_argument("--noise-dir", type=Path, default=SHARED / "data/musan/noise", help="folder of WAV files")
    parser.add_argument("--blocks", type=int, default=256, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--network", choices=tuple(SYSTEMS["spectrogram"].networks), default="alexnet",
                        help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=6, metavar="N", help="of a training (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="medians of N (default: %(default)s)")
    args = parser.parse_args()
    recordings, noises = sorted(args.corpus_dir.rglob("*.wav")), sorted(args.noise_dir.rglob("*.wav"))
    if not recordings or not noises:
        sys.exit(f"no WAV files in {args.corpus_dir} or {args.noise_dir}; name folders with --corpus-dir, --noise-dir")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    blocks: list[np.ndarray] = []
    for path in recordings:
        blocks += read_blocks(path)
        if len(blocks) >= args.blocks:
            break
    blocks = blocks[: args.blocks]
    with tempfile.TemporaryDirectory() as name:
        measure(blocks, recordings, noises, Path(name), args)


def measure(
    blocks: list[np.ndarray], recordings: list[Path], noises: list[Path], folder: Path, args: argparse.Namespace
) -> None:
    drawing = ways_to_draw(blocks, noises, folder)
    for draw in drawing.values():
        draw()  # imports what it needs, and reads the noise
    drawing["ours"]()
    write_table(folder / "utt2num_frames", {f"block{index:06d}": 259 for index in range(len(blocks))})
    store = FeatureStore.load([str(folder)], CPU, "uint8")
    files = [folder / f"{index}.png" for index in range(len(blocks))]
    for index, file in enumerate(files):
        image = store.whole(np.array([index]))[0].byte().numpy()
        Image.fromarray(palette()[image.T]).save(file)

    trainings = {precision: Training(args.network, precision, args.batch_size)
                 for precision in dict.fromkeys(("fp32", resolve_precision("auto", CPU)))}
    made = SimpleNamespace()

    def compute(precision: str, afresh: bool) -> None:
        for path in folder.glob("frozen/*/*") if afresh else ():
            path.unlink()
        network = trainings[precision].network
        setattr(made, precision, FrozenStore(store, str(folder), network, precision, args.batch_size))

    actions: dict[str, Callable[[], object]] = dict(drawing)
    for precision, training in trainings.items():
        actions |= {
            f"frozen {precision}": lambda precision=precision: compute(precision, True),
            f"kept {precision}": lambda precision=precision: compute(precision, False),
            f"cached {precision}": lambda precision=precision, t=training: t.epoch(getattr(made, precision)),
            f"images {precision}": lambda t=training: t.epoch(store),
        }
    actions["plain loop"] = lambda: trainings["fp32"].plain_epoch(files)
    spectrogram, network = Spectrogram(SpectrogramOptions()), Training(args.network, "fp32", 1).network.eval()

    @torch.inference_mode()
    def answer() -> None:
        for path in recordings[:10]:
            images = [spectrogram(block) for block in read_blocks(path)]
            rows = torch.from_numpy(np.concatenate(images)).float()
            network(rows, torch.full((len(images),), 259)).softmax(1).mean(0)

    actions["answer"] = answer
    times: dict[str, list[float]] = {way: [] for way in actions}
    for way in progress(list(actions) * args.rounds, len(actions) * args.rounds, "measuring", "turns"):
        times[way].append(cpu_seconds(actions[way]))

    def each(way: str, count: int) -> float:
        return 1e3 * statistics.median(times[way]) / count

    images = [[way, f"{each(way, len(blocks)):.2f}", f"{ratio(times[way], times['ours']):.2f}"] for way in drawing]
    if "librosa and imsave" not in drawing:
        images.append(["librosa and imsave", "not installed", ""])
    rows = []
    for precision in trainings:
        whole, kept = ([made + args.epochs * cached for made, cached in
                        zip(times[f"{way} {precision}"], times[f"cached {precision}"], strict=True)]
                       for way in ("frozen", "kept"))
        uncached, plain = ([args.epochs * epoch for epoch in times[way]]
                           for way in (f"images {precision}", "plain loop"))
        for way, total in ((f"ours, {precision}", whole), (f"ours, {precision}, outputs kept by an earlier one", kept),
                           (f"ours from images, {precision}", uncached)):
            rows.append([way, f"{1e3 * statistics.median(total) / len(blocks):.1f}", f"{ratio(uncached, total):.2f}",
                         f"{ratio(plain, total):.2f}"])
    rows.append(["plain DataLoader loop, fp32", f"{args.epochs * each('plain loop', len(blocks)):.1f}", "", "1.00"])
    report(
        f"Spectrogram images and {args.network}", CPU,
        [f"{len(blocks)} blocks; processor time on one thread, medians of {args.rounds} rounds; trainings of",
         f"{args.epochs} epochs, batches of {args.batch_size}."],
        markdown(["images", "ms an image", "ratio to ours"], images),
        markdown(["training", "ms an image", "times as fast as from images", "as the plain loop"], rows),
        f"An utterance's answer: {each('answer', 10):.0f} ms, mean of 10 recordings.",
    )


if __name__ == "__main__":
    main()
