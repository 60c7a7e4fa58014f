#!/usr/bin/env python3
"""A step of fine-tuning with CopyPaste on samples: what planning and gathering waveforms takes of it, and the same
examples through transformers' HubertForSequenceClassification in one padded batch.

The encoder is a HuBERT with random weights, its convolutions those of the published ones and frozen, with six layers of
512 numbers, as many as Whisper base has. Utterances are noise, 3 to 5 s long, as RAVDESS's are; crops are of 4 s.

Usage: python3 tests/benchmarks/bench_finetuning.py [--batch-size N] [--rounds N] [--device cpu|cuda] [--threads N]
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import CLASSES, interleaved, markdown, parse_options, ratio, report
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForAudioClassification, HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from ser.augment.copypaste import CopyPaste
from ser.features.store import WaveformStore, in_length_order
from ser.training.device import set_up_device
from ser.training.optimiser import freeze, set_training
from ser.training.options import TrainOptions
from ser.training.systems import SYSTEMS

ROOT = Path(__file__).resolve().parents[2]
SIZE = {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 2048,
        "layerdrop": 0.0, "num_labels": len(CLASSES), "classifier_proj_size": 512, "mask_time_prob": 0.0}


def main() -> None:
    args = parse_options(__doc__, 64, 3)
    device, random = set_up_device(args.device), np.random.default_rng(0)
    lengths = random.integers(48000, 80001, args.utterances)
    frames = torch.from_numpy(random.integers(-3000, 3001, (lengths.sum(), 1)).astype(np.int16))
    store = WaveformStore([str(number) for number in range(len(lengths))], lengths, frames, device)
    with tempfile.TemporaryDirectory() as folder:
        HubertModel(HubertConfig(**SIZE)).save_pretrained(folder)
        Wav2Vec2FeatureExtractor().save_pretrained(folder)
        configs = [ROOT / "conf" / "train.yaml", ROOT / "conf" / "encoder-finetune-linear.yaml"]
        options = TrainOptions.read(configs, {"system": "encoder-finetune", "network": "linear", "init": folder})
        network = SYSTEMS[options.system].networks[options.network].build(1, len(CLASSES), options).to(device)
    freeze(network, options)
    set_training(network, options)
    theirs = AutoModelForAudioClassification.from_config(HubertConfig(**SIZE)).to(device).train()
    theirs.base_model.feature_extractor._freeze_parameters()
    plans = CopyPaste(np.arange(len(lengths)) % len(CLASSES), lengths, "n+se-cp", CLASSES.index("neutral"),
                      min(args.batch_size, 16), options.rows(options.crop))
    plan = next(plan for plan in plans.epoch(1) if plan.kind == "n-cp")
    most = options.rows(options.pass_seconds)
    parts = [plan.select(indices) for indices in in_length_order(plan.filled.sum(1), most)]
    labels = torch.from_numpy(plan.labels).to(device)

    def planned() -> None:
        next(plans.epoch(2))
        for part in parts:
            store.batch(part)

    def ours() -> None:
        for part in parts:
            logits = network(*store.batch(part))
            F.cross_entropy(logits, torch.from_numpy(part.labels).to(device), reduction="sum").backward()

    def padded() -> None:
        rows, counts = store.batch(plan)
        inside = (torch.arange(int(counts.max())) < counts[:, None]).to(device)
        waveforms = pad_sequence((rows[:, 0] / 32768).split(counts.tolist()), batch_first=True)
        logits = theirs(waveforms, attention_mask=inside.long()).logits
        F.cross_entropy(logits, labels, reduction="sum").backward()

    times = interleaved({"plan and gather": planned, "step": ours, "transformers": padded}, args.rounds, device)
    medians = {name: f"{statistics.median(values):.3f}" for name, values in times.items()}
    report(
        "Fine-tuning an encoder, a step", device,
        [f"{len(plan)} examples of two parts, {plan.filled.sum() / 16000:.0f} s of audio, float32; medians of "
         f"{args.rounds} rounds."],
        markdown(["", "seconds", "ratio to the step"], [
            ["ours: planned, gathered, forward and backward", medians["step"], "1"],
            ["planning and gathering alone", medians["plan and gather"],
             f"{100 * ratio(times['plan and gather'], times['step']):.1f} %"],
            ["transformers' model, one padded batch", medians["transformers"],
             f"{ratio(times['transformers'], times['step']):.2f}"],
        ]),
    )


if __name__ == "__main__":
    main()
