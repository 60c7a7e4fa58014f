#!/usr/bin/env python3
"""Score a trained run on test sets: posteriors of whole utterances, then the metrics.

Leaves RUN/score_NAME/{predictions.tsv,score.json} for every test set. One that is scored already, by the same
checkpoint on the same features, is left as it is. Utterances without features or label are an error.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
import yaml

from ser.base.errors import SerError, run_main
from ser.base.files import Marker, fingerprint
from ser.data.datadir import DataDir
from ser.data.labels import Labels
from ser.features.store import FeatureStore, features_digest, front_end
from ser.scoring.predictions import check_complete, score_folder, write_score
from ser.training.checkpoint import FINISHED, load_model
from ser.training.device import set_up_device
from ser.training.evaluation import log_posteriors
from ser.training.options import TrainOptions


def named_folder(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"expected NAME=DATA, found {text!r}")
    return name, Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, metavar="RUN", help="folder of the training, with best.pt")
    parser.add_argument("--tests", type=named_folder, nargs="+", required=True, metavar="NAME=DATA",
                        help="a test set's name and its data directory with voiced features")
    parser.add_argument("--allow-unfinished", action="store_true",
                        help="score the best epoch so far of a training that has not finished")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")
    parser.add_argument("--num-threads", type=int, default=0, metavar="N",
                        help="CPU threads (default: OMP_NUM_THREADS, else all cores)")
    args = parser.parse_args()
    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    device = set_up_device(args.device)
    if not (args.run / FINISHED).exists() and not args.allow_unfinished:
        raise SerError(f"{args.run}: its training has not finished; run.sh --stage 3 finishes it (--allow-unfinished)")
    best = args.run / "best.pt"
    model, checkpoint = load_model(best, device)
    # Of the training as it ended: best.pt may be older, from before it was continued for more epochs.
    config_path = args.run / "config.yaml"
    config = yaml.safe_load(config_path.read_text(encoding="utf-8"))
    options = {name: config[name] for name in ("scheme", *(field.name for field in fields(TrainOptions)))}
    classes = checkpoint["classes"]
    for name, folder in args.tests:
        outputs = [score_folder(args.run, name) / file for file in ("predictions.tsv", "score.json")]
        tables = (folder / "utt2emo", folder / "utt2spk")
        digest = fingerprint(best, config_path, features_digest([folder]), *tables, device.type)
        marker = Marker(outputs[0].parent / ".done", digest)
        if marker.is_current():
            print(f"{outputs[1]} is up to date", flush=True)
            continue
        marker.clear()
        if front_end([folder]) != checkpoint["front_end"]:
            raise SerError(f"{folder}: made with other options ({front_end([folder])!r}) than {best} was trained on "
                           f"({checkpoint['front_end']!r}); make its features with those (run.sh stages 1 and 2)")
        data, store = DataDir(folder), FeatureStore.load([folder], device)
        check_complete(data.utterances, store.utterances)
        labels = Labels.read([folder], store.utterances, classes)
        # Softmax once more in float64: float32 rows sum to 1 only to 1e-7 times the classes.
        posteriors = np.exp(log_posteriors(model, store).astype(np.float64))
        posteriors /= posteriors.sum(1, keepdims=True)
        if not np.isfinite(posteriors).all():
            raise SerError(f"{best}: its posteriors on {folder} are not finite; train again with --precision fp32")
        speakers = data.table("utt2spk")
        record = write_score(
            args.run, name, store.utterances, [speakers[u] for u in store.utterances],
            [classes[index] for index in labels.indices], posteriors, classes,
            {"path": best, "options": options,
             **{name: checkpoint[name] for name in ("epoch", "dev_weighted_f1", "front_end")}},
        )
        marker.write(outputs)
        print(
            f"{name}: weighted F1 {100 * record['weighted_f1']:.2f}, UAR {100 * record['uar']:.2f}, accuracy "
            f"{100 * record['accuracy']:.2f} over {record['utterances']} utterances", flush=True,
        )


if __name__ == "__main__":
    run_main(main)
