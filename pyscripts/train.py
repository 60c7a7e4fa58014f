#!/usr/bin/env python3
"""Train the network on data directories with voiced features, or on a packed set of them.

Interrupted, the same command resumes and ends with the same weights as if it had never stopped; finished, it says so
and does nothing. SIGTERM and SIGUSR1 stop it after the current batch, which is saved, with exit status 128 + the
signal's number. utils/launch.sh runs it in several processes that train one network, each on its share of every batch.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path

import torch

from ser.augment.copypaste import SCHEMES, describe
from ser.base.errors import run_main
from ser.base.files import atomic_path
from ser.data.labels import EMOTION_TABLE as EMOTIONS
from ser.training.device import set_up_device
from ser.training.distributed import World
from ser.training.options import CHOICES, TrainOptions
from ser.training.trainer import Trainer, planner, utterances_of

DEFAULTS = Path(__file__).resolve().parent.parent / "conf" / "train.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", required=True, metavar="DIR",
                        help="training data directories, or one packed set (steps/pack_feats.sh)")
    parser.add_argument("--dev", metavar="DIR", help="development data directory")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for checkpoints and logs")
    parser.add_argument("--labels", choices=(EMOTIONS, "utt2spk"), default=EMOTIONS,
                        help="the data directories' table of classes (default: %(default)s)")
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
    types = {"int": int, "float": float, "str": str}
    names = {field.name: types[field.type] for field in fields(TrainOptions)}
    for name, kind in names.items():
        options.add_argument(f"--{name.replace('_', '-')}", type=kind, choices=CHOICES.get(name))
    args = parser.parse_args()
    with World() as world:  # from here on an error ends all processes
        settings = TrainOptions.read([DEFAULTS, *args.config], {name: getattr(args, name) for name in names})
        if args.dump_plan:
            dump_plan(args.dump_plan, args.plan_epoch, args.train, settings, args.scheme, args.seed, args.labels)
            return
        if args.dev is None or args.out is None:
            parser.error("--dev and --out are needed to train")
        if args.num_threads:
            torch.set_num_threads(args.num_threads)
        init = None if args.init == "random" else args.init
        device = set_up_device(args.device)
        world.join(device.type)
        if device.type == "cuda":
            device = torch.device("cuda", world.local_rank)
        Trainer(
            args.train, args.dev, args.out, settings, args.scheme, args.seed, device, init, args.labels, world
        ).run()


def dump_plan(
    path: Path, epoch: int, train: list[str], settings: TrainOptions, scheme: str, seed: int, table: str
) -> None:
    """Write the plan of one epoch as JSON lines, one an example."""
    plans, labels = planner(train, settings, scheme, seed, table)
    utterances = utterances_of(train)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as lines:
        for number, batch in enumerate(plans.epoch(epoch)):
            lines.writelines(json.dumps(r) + "\n" for r in describe(batch, number, utterances, labels.classes))


if __name__ == "__main__":
    run_main(main)
