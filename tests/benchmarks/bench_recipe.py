#!/usr/bin/env python3
"""End to end: from audio files to a trained network, in the commands that a user gives, beside a plain script.

Ours: steps/make_mfcc.sh, compute_vad.sh and prepare_feats.sh in as many jobs as there are cores, then train.py with
n+se-cp for --epochs epochs; start-up of every process, validation and checkpoints included. The plain script is one
process: soundfile, kaldi-native-fbank file by file (resampling, VAD and mean normalisation are ours), kaldiio arks,
then the loop of peer_loop.py with a development set and a checkpoint every epoch. A quarter of the recordings is the
development set. Labels are dealt out in turn: only time is measured, of one run each.

Usage: python3 tests/benchmarks/bench_recipe.py [--corpus-dir DIR] [--recordings N] [--epochs N] [--device D]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import kaldiio
import numpy as np
import soundfile
import torch
from common import CLASSES, markdown, report
from peer_loop import ArkDataset, Collate, PeerLoop
from torch.utils.data import DataLoader

from ser.base.errors import run_main
from ser.base.kaldi_tables import write_table
from ser.data.audio import resample
from ser.features.frontend import MfccOptions, VadOptions, read_conf, sliding_cmn, vad
from ser.training.device import set_up_device

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = Path(os.environ.get("SER_SHARED", ROOT.parent / "shared"))


def write_lists(files: Sequence[Path], folder: Path) -> None:
    """Data directories train and dev."""
    for name in ("train", "dev"):
        names = {f"s-{index:06d}": index for index in range(len(files)) if (index % 4 == 3) == (name == "dev")}
        (folder / name).mkdir()
        write_table(folder / name / "wav.scp", {utterance: str(files[index]) for utterance, index in names.items()})
        write_table(folder / name / "utt2spk", dict.fromkeys(names, "s"))
        write_table(folder / name / "spk2utt", {"s": " ".join(names)})
        emotions = {utterance: CLASSES[index // 3 % len(CLASSES)] for utterance, index in names.items()}
        write_table(folder / name / "utt2emo", emotions)


def timed(command: Sequence[object]) -> float:
    begin = time.perf_counter()
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}")
    return time.perf_counter() - begin


def ours(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    jobs, steps = args.threads, ROOT / "steps"
    train, dev = folder / "train", folder / "dev"
    made = timed([steps / "make_mfcc.sh", "--nj", jobs, "--also", dev, train])
    made += timed([steps / "compute_vad.sh", "--nj", jobs, "--also", dev, train])
    made += timed([steps / "prepare_feats.sh", "--nj", jobs, "--also", f"{dev}={dev}_voiced", train, f"{train}_voiced"])
    trained = timed([
        sys.executable, ROOT / "pyscripts/train.py", "--train", folder / "train_voiced", "--dev",
        folder / "dev_voiced", "--out", folder / "exp", "--scheme", "n+se-cp", "--epochs", args.epochs,
        "--device", args.device, "--num-threads", args.threads,
    ])
    return {"features": made, "training": trained}


def plain_script(folder: Path, epochs: int, device: torch.device) -> None:
    """The peer; prints its seconds."""
    from bench_frontend import kaldi_native_mfcc, kaldi_native_options

    begin = time.perf_counter()
    conf = ROOT / "conf"
    mfcc_options, vad_options = read_conf(conf / "mfcc_8k.conf", MfccOptions), read_conf(conf / "vad.conf", VadOptions)
    theirs = kaldi_native_options(mfcc_options)
    for name in ("train", "dev"):
        data = folder / name
        voiced = folder / f"{name}_plain"
        voiced.mkdir()
        os.link(data / "utt2emo", voiced / "utt2emo")
        with kaldiio.WriteHelper(f"ark,scp:{voiced}/feats.ark,{voiced}/feats.scp") as writer:
            for line in (data / "wav.scp").read_text().splitlines():
                utterance, path = line.split(maxsplit=1)
                samples, rate = soundfile.read(path, dtype="int16")
                mono = samples.reshape(len(samples), -1).mean(1).astype(np.float32)
                matrix = kaldi_native_mfcc(resample(mono, rate, mfcc_options.rate), theirs, mfcc_options.rate)
                writer(utterance, sliding_cmn(matrix)[np.asarray(vad(matrix[:, 0], vad_options), bool)])
    made = time.perf_counter()

    loop = PeerLoop(folder / "train_plain", CLASSES, 128, 2, device)
    dev = ArkDataset(folder / "dev_plain", CLASSES)
    batches = [[(index, "none") for index in range(len(dev))][first : first + 128] for first in range(0, len(dev), 128)]
    dev_loader = DataLoader(dev, batch_sampler=batches, collate_fn=Collate(2), num_workers=2, persistent_workers=True)
    for _ in range(epochs):
        loop.epoch()
        loop.model.eval()
        with torch.inference_mode():
            for x, lengths, _ in dev_loader:
                loop.model(x.to(device), lengths.to(device)).argmax(1).cpu()
        loop.model.train()
        torch.save(loop.model.state_dict(), folder / "plain.pt")
    print(json.dumps({"features": made - begin, "training": time.perf_counter() - made}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus-dir", type=Path, default=SHARED / "data/ravdess", help="folder of WAV files")
    parser.add_argument("--recordings", type=int, default=256, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=2, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N", help="(default: cores)")
    parser.add_argument("--plain", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = set_up_device(args.device)
    if args.plain:
        plain_script(args.plain, args.epochs, device)
        return
    files = sorted(args.corpus_dir.rglob("*.wav"))[: args.recordings]
    if len(files) < 16:
        sys.exit(f"{len(files)} WAV files in {args.corpus_dir}, 16 at least are needed; use --corpus-dir")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_lists(files, folder)
        command = [sys.executable, __file__, "--plain", folder, "--epochs", args.epochs, "--device", args.device,
                   "--threads", args.threads]
        begin = time.perf_counter()
        child = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
        plain = {"all": time.perf_counter() - begin, **json.loads(child.stdout.splitlines()[-1])}
        found = ours(folder, args)
        found["all"] = sum(found.values())
    rows = [
        [what, f"{plain[what]:.1f}", f"{found[what]:.1f}", f"{plain[what] / found[what]:.2f}"]
        for what in ("features", "training", "all")
    ]
    report(
        "End to end", device,
        [f"{len(files)} recordings, {args.epochs} epochs; {args.threads} jobs or threads of ours, the plain script",
         "one process (with 2 workers in training). Its start-up is in its sum alone."],
        markdown(["", "plain script, s", "ours, s", "ratio"], rows),
    )


if __name__ == "__main__":
    run_main(main)
