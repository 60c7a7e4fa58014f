#!/usr/bin/env python3
"""Train a network on data directories with features, or on a packed set of them.

Interrupted, the same command resumes and ends with the same weights as if it had never stopped; finished, it says so
and does nothing. SIGTERM and SIGUSR1 stop it after the current batch, which is saved, with exit status 128 + the
signal's number. utils/launch.sh runs it in several processes that train one network, each on its share of every batch.

What to train is said by options, or is a line of a file of runs that run.sh has planned (--runs and --job), or is read
from the config.yaml of an earlier run (--config), which makes that run again: in the same folder, unless --out names
another.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import fields
from pathlib import Path

import torch

from ser.augment.copypaste import describe
from ser.base.errors import SerError, run_main
from ser.base.files import atomic_path
from ser.training.classification import make_plans
from ser.training.device import set_up_device
from ser.training.distributed import World
from ser.training.options import CHOICES, CONVERTERS, TrainOptions, meant, read_config, read_values
from ser.training.runs import Run, read_run
from ser.training.systems import SYSTEMS
from ser.training.trainer import Trainer

DEFAULTS = Path(__file__).resolve().parent.parent / "conf" / "train.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", metavar="DIR",
                        help="training data directories, or one packed set (steps/pack_feats.sh)")
    parser.add_argument("--dev", metavar="DIR", help="development data directory")
    parser.add_argument("--out", metavar="DIR", help="folder for checkpoints and logs")
    parser.add_argument("--config", action="append", default=[], metavar="YAML",
                        help=f"options over those of conf/{DEFAULTS.name}; may be repeated")
    parser.add_argument("--runs", type=Path, metavar="FILE", help="file of runs, instead of all of the above")
    parser.add_argument("--job", type=int, metavar="N", help="number of the run in --runs, from 1")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="(default: auto, or what --runs says)")
    parser.add_argument("--num-threads", type=int, default=0, metavar="N",
                        help="CPU threads (default: OMP_NUM_THREADS, else all cores)")
    parser.add_argument("--dump-plan", type=Path, metavar="FILE",
                        help="write the plan of one epoch as JSON lines, one an example, and exit; needs --train alone")
    parser.add_argument("--plan-epoch", type=int, default=1, metavar="N", help="which epoch (default: %(default)s)")
    options = parser.add_argument_group("options of conf/train.yaml, which explains them")
    names = {field.name: CONVERTERS[field.type] for field in fields(TrainOptions)}
    for name, kind in names.items():
        options.add_argument(f"--{name.replace('_', '-')}", type=kind, choices=CHOICES.get(name))
    args = parser.parse_args()
    said = {name: value for name in names if (value := getattr(args, name)) is not None}
    with World() as world:  # from here on an error ends all processes
        if args.runs:
            if args.train or args.dev or args.out or args.config or said or args.job is None:
                parser.error("--runs takes --job, and neither data nor options, which its lines have")
            run = read_run(args.runs, args.job)
            os.chdir(run.work)
        else:
            run = described_run(parser, args, said)
        if args.dump_plan:
            dump_plan(args.dump_plan, args.plan_epoch, run)
            return
        if args.num_threads:
            torch.set_num_threads(args.num_threads)
        device = set_up_device(args.device or run.device)
        world.join(device.type)
        if device.type == "cuda":
            device = torch.device("cuda", world.local_rank)
        Trainer(run, device, world).train()


def described_run(parser: argparse.ArgumentParser, args: argparse.Namespace, said: dict[str, object]) -> Run:
    """Return the run that the command line and the configuration files describe."""
    record, configured = {}, {}
    for path in args.config:
        record |= read_config(path)[1]
        configured |= read_values(path)
    settings = TrainOptions.read([DEFAULTS], meant(configured) | meant(said))
    if record.get("work") and not args.train:
        os.chdir(record["work"])
    values = {name: value for name, value in record.items() if name in {field.name for field in fields(Run)}}
    train, dev, out = args.train or record.get("train"), args.dev or record.get("dev"), args.out or record.get("out")
    if not train or (not args.dump_plan and not (dev and out)):
        parser.error("--train, --dev and --out are needed to train")
    values |= {"work": os.getcwd(), "out": out or "", "train": tuple(train), "dev": dev or "", "options": settings}
    return Run(**{**values, "device": args.device or "auto"})


def dump_plan(path: Path, epoch: int, run: Run) -> None:
    """Write the plan of one epoch as JSON lines, one an example."""
    system, network = run.options.system, run.options.network
    if not SYSTEMS[system].networks[network].by_plan:
        raise SerError(f"--dump-plan: {system}-{network} is not trained on the batches of a plan")
    plans, labels, utterances = make_plans(run.train, run.options)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as lines:
        for number, batch in enumerate(plans.epoch(epoch)):
            lines.writelines(json.dumps(r) + "\n" for r in describe(batch, number, utterances, labels.classes))


if __name__ == "__main__":
    run_main(main)
