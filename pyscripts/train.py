#!/usr/bin/env python3
"""Train the network on data directories with voiced features.

Interrupted, the same command resumes after the last finished epoch and ends with the same weights as if it had never
stopped; finished, it says so and does nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from ser.copypaste import SCHEMES, SHORT_UTTERANCES, describe
from ser.errors import run_main
from ser.files import atomic_path
from ser.options import PRECISIONS, TrainOptions
from ser.training import Trainer, pick_device, planner

DEFAULTS = Path(__file__).resolve().parent.parent / "conf" / "train.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", required=True, metavar="DIR", help="training data directories")
    parser.add_argument("--dev", metavar="DIR", help="development data directory")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for checkpoints and logs")
    parser.add_argument("--scheme", choices=SCHEMES, default="none", help="CopyPaste scheme (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights and batches (default: %(default)s)")
    parser.add_argument("--init", default="random", metavar="DIR",
                        help="'random', or the folder of a pre-trained model, all of whose weights but the last "
                             "layer's are taken (default: %(default)s)")
    parser.add_argument("--config", action="append", default=[], metavar="YAML",
                        help=f"options over those of conf/{DEFAULTS.name}; may be repeated")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")
    parser.add_argument("--num-threads", type=int, default=0, metavar="N",
                        help="CPU threads (default: OMP_NUM_THREADS, else all cores)")
    parser.add_argument("--dump-plan", type=Path, metavar="FILE",
                        help="write the plan of one epoch as JSON lines, one an example, and exit; needs --train alone")
    parser.add_argument("--plan-epoch", type=int, default=1, metavar="N", help="which epoch (default: %(default)s)")
    options = parser.add_argument_group("options of conf/train.yaml")
    options.add_argument("--epochs", type=int)
    options.add_argument("--batch-size", type=int)
    options.add_argument("--learning-rate", type=float)
    options.add_argument("--crop", type=int, help="frames")
    options.add_argument("--short-utt", choices=SHORT_UTTERANCES)
    options.add_argument("--precise-bn", type=int, metavar="BATCHES")
    options.add_argument("--precision", choices=PRECISIONS)
    args = parser.parse_args()
    names = ("epochs", "batch_size", "learning_rate", "crop", "short_utt", "precise_bn", "precision")
    settings = TrainOptions.read([DEFAULTS, *args.config], {name: getattr(args, name) for name in names})

    if args.dump_plan:
        plans, labels, utterances = planner(args.train, settings, args.scheme, args.seed)
        with atomic_path(args.dump_plan) as temporary, open(temporary, "w", encoding="utf-8") as lines:
            for number, batch in enumerate(plans.epoch(args.plan_epoch)):
                lines.writelines(json.dumps(r) + "\n" for r in describe(batch, number, utterances, labels.classes))
        return
    if args.dev is None or args.out is None:
        parser.error("--dev and --out are needed to train")
    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    init = None if args.init == "random" else args.init
    Trainer(args.train, args.dev, args.out, settings, args.scheme, args.seed, pick_device(args.device), init).run()


if __name__ == "__main__":
    run_main(main)
