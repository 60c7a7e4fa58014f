#!/usr/bin/env python3
"""Score a network that says speech: have it say a test set of speakers that it was not trained on.

Writes <run>/score_test/synthesis.json. Of every frame said after the true ones, means over utterances: `loss`, what
training minimises; `mel_error`, the squared error of the log-mel spectrogram; and `focus`, the largest weight of the
attention. Of the utterances said freely, each in its own style: `stopped`, the share that ended by itself within twice
the true length; `length`, the mean ratio of lengths; `monotone`, the mean share of frames at which the attention does
not go back; `reached`, the share whose attention was at one of the last three units. A current score is not made again.

--report prints the scores of all runs under a folder as a table, and writes it to <folder>/results/synthesis.md.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ser.base.errors import run_main
from ser.base.files import write_text
from ser.base.progress import progress
from ser.features.directories import require_front_end
from ser.features.speech_store import SpeechStore
from ser.features.store import in_length_order
from ser.nets.synthesis import Synthesiser
from ser.training.checkpoint import build_model, load_checkpoint
from ser.training.device import set_up_device
from ser.training.run_folder import at_work, score_marker
from ser.training.runs import read_run
from ser.training.synthesis import figures_of, styles_of
from ser.training.systems import SYSTEMS

TEST, NAME = "test", "synthesis.json"
FIGURES = ("loss", "mel_error", "focus", "stopped", "length", "monotone", "reached")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, metavar="FILE", help="file of runs")
    parser.add_argument("--job", type=int, metavar="N", help="number of the run in --runs, from 1")
    parser.add_argument("--report", type=Path, metavar="EXP", help="print the scores of this folder's runs instead")
    args = parser.parse_args()
    if args.report:
        report(args.report)
        return
    if not args.runs or args.job is None:
        parser.error("--runs and --job are needed")
    run = read_run(args.runs, args.job)
    os.chdir(run.work)
    data, folder = run.tests[TEST], run.folder
    marker = score_marker(folder, TEST, Path(data))
    if marker.is_current():
        print(f"{folder}: score up to date")
        return
    with at_work(folder, "is being scored"):
        device = set_up_device(run.device)
        checkpoint = load_checkpoint(folder / "best.pt")
        require_front_end(SYSTEMS[run.options.system].front_end([data]), checkpoint["front_end"], data, folder,
                          "name the same encoder, codebook and vocoder, or train again")
        found = score(build_model(checkpoint, device), SpeechStore.load([data], device))
        path = folder / f"score_{TEST}" / NAME
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps({**found, "epoch": checkpoint["epoch"]}, indent=1) + "\n")
        marker.write([path])
        print(", ".join(f"{name} {value:.3f}" for name, value in found.items()))


def score(model: Synthesiser, store: SpeechStore) -> dict[str, float]:
    """Return the figures of a network on a test set."""
    figures = np.zeros((len(store.lengths), len(FIGURES)))
    batches = list(in_length_order(store.lengths, store.BATCH_ROWS[store.device.type]))
    for indices in progress(batches, len(batches), "saying the test set", "batch"):
        speech = store.whole(indices, styles_of(model, store, indices))
        with torch.no_grad():
            torch.manual_seed(0)
            forced = figures_of(model(*speech), speech)
        limits = 2 * speech.mel_lengths
        made = model.generate(speech.units, speech.unit_lengths, speech.styles, limits, indices.tolist())
        path = path_of(made.attention, made.lengths, speech.unit_lengths)
        free = [made.stopped, made.lengths / speech.mel_lengths, *path]
        figures[indices] = np.concatenate([forced.cpu().numpy(), np.stack([np.asarray(each) for each in free], 1)], 1)
    return dict(zip(FIGURES, figures.mean(0).tolist(), strict=True))


def path_of(attention: Tensor, frames: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share of frames at which attention (B, T, U) does not go back, and whether it got to the end, (B,)."""
    places = attention.argmax(2).cpu()
    monotone, reached = [], []
    for place, length, count in zip(places, frames.tolist(), units.tolist(), strict=True):
        steps = place[:length].diff()
        monotone.append(float((steps >= 0).float().mean()) if len(steps) else 1.0)
        reached.append(float(place[:length].max() >= count - 3))
    return torch.tensor(monotone), torch.tensor(reached)


def report(exp: Path) -> None:
    """Print a table of all scores under a folder, and write it."""
    paths = sorted(exp.glob(f"**/score_{TEST}/{NAME}"))
    lines = ["| run | epoch | " + " | ".join(FIGURES) + " |", "|---|---:" + "|---:" * len(FIGURES) + "|"]
    for path in paths:
        found = json.loads(path.read_text(encoding="utf-8"))
        cells = [f"{found[name]:.3f}" for name in FIGURES]
        lines.append(f"| {path.parents[1].relative_to(exp)} | {found['epoch']} | " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n" if paths else "nothing scored\n"
    (exp / "results").mkdir(parents=True, exist_ok=True)
    write_text(exp / "results" / "synthesis.md", text)
    print(text, end="")


if __name__ == "__main__":
    run_main(main)
