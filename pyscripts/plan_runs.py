#!/usr/bin/env python3
"""Plan the runs that a recipe is asked for: one JSON line each, with everything that training and scoring need.

run.sh calls this before anything else is done, so that a wrong option shows before hours of features. A run is

    EXP/<features>-<network>_<train data>_<scheme>_<init>[_<tag>]/[fold<k>/]seed<n>

where the tag is --tag, or else what --config and the training options change against the recipe's own options: the
file's name, and `option-value` for each option given here. A folder that holds a training with other options is
refused. With --score-run a trained run of another corpus is scored instead, in the folder

    EXP/<features>-<network>_<train data>@<its corpus>[-fold<its fold>]_<scheme>_<init>[_<tag>]/[fold<k>/]seed<its seed>
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

from ser.augment.copypaste import SCHEMES
from ser.base.errors import SerError, run_main
from ser.base.files import write_text
from ser.data.labels import EMOTION_TABLE
from ser.nets.encoder_folder import is_encoder_folder
from ser.nets.imagenet import SUFFIXES, find_weights
from ser.nets.speaker_folder import is_speaker_folder
from ser.scoring.results import BASELINE, ELSEWHERE
from ser.training.options import CHOICES, OF_RUNS, TrainOptions, checked, meant, read_config, read_values
from ser.training.run_folder import CONFIG, FINISHED, refuse_other_options
from ser.training.runs import Run
from ser.training.systems import SYSTEMS

ROOT = Path(__file__).resolve().parent.parent
CARRIED = ("mfcc", BASELINE, "encoder", "encoder-finetune")  # whose runs can be scored on other corpora
PIPE = re.compile(r"pipe\.\d+\.yaml")  # what run.sh calls its copy of a pipe, which has no name of its own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list-options", action="store_true", help="print the names of the training options, and exit")
    parser.add_argument("--list-systems", action="store_true",
                        help="print a line '<system> <network> …' of each system, its default network first, and exit")
    parser.add_argument("--driver-options", type=Path, metavar="FILE",
                        help="print the options of run.sh that the config.yaml of a run fixes, a word a line, and exit")
    parser.add_argument("--recipe", help="name of the recipe")
    parser.add_argument("--task", default="emotion", help="its task (default: %(default)s)")
    parser.add_argument("--system", default="mfcc", choices=tuple(SYSTEMS), help="(default: %(default)s)")
    parser.add_argument("--features", help="name of the features, for folders (default: the system's)")
    parser.add_argument("--network", help="(default: the system's first)")
    parser.add_argument("--train-data", default="clean", help="name of the training data (default: %(default)s)")
    parser.add_argument("--scheme", default="none", help="CopyPaste schemes, blank-separated (default: %(default)s)")
    parser.add_argument("--init", default="", help="random, imagenet, or the folder of a pre-trained model (default: "
                        "random; imagenet for systems of images, --encoder for those that train one on)")
    parser.add_argument("--weights", default="", metavar="FILE", help="of --init imagenet (default: torchvision's)")
    parser.add_argument("--encoder", default="", metavar="DIR", help="that a system which fine-tunes one starts from")
    parser.add_argument("--layer", type=int, default=0, metavar="N", help="its last layer that is used (default: all)")
    parser.add_argument("--layers", type=int, default=1, metavar="N",
                        help="whose hidden states are side by side in the features (default: %(default)s)")
    parser.add_argument("--seeds", default="0", help="blank-separated (default: %(default)s)")
    parser.add_argument("--tag", default="", help="last part of the folders' names (default: the options changed)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="training options over the recipe's own")
    parser.add_argument("--given", action="append", default=[], metavar="WORD",
                        help="a word of the options of run.sh that the runs are planned with, for the record")
    parser.add_argument("--labels", default=EMOTION_TABLE, choices=CHOICES["labels"], help="(default: %(default)s)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="(default: %(default)s)")
    parser.add_argument("--splits", default="-", metavar="FILE",
                        help="JSON lines with fold, train, dev, tests, test_list; -: standard input (default: -)")
    parser.add_argument("--baseline", metavar="FEATURES",
                        help="add the baseline's runs, on the same splits; they have the name of these features")
    parser.add_argument("--trained-baseline", action="store_true", help="add those only that are trained")
    parser.add_argument("--score-run", type=Path, metavar="RUN",
                        help="train nothing: score this finished run of another corpus on these splits' tests")
    parser.add_argument("--exp-dir", default="exp", metavar="EXP", help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the runs go")
    parser.add_argument("training", nargs="*", metavar="-- --OPTION VALUE", help="options of conf/train.yaml")
    args = parser.parse_args()
    if args.list_options:
        print("\n".join(f.name.replace("_", "-") for f in fields(TrainOptions) if f.name not in OF_RUNS))
    elif args.list_systems:
        for name, system in SYSTEMS.items():
            if not system.of:
                print(name, *system.networks)
    elif args.driver_options:
        print("\n".join(driver_options(args.driver_options)))
    elif not args.recipe or not args.out:
        parser.error("--recipe and --out are needed")
    else:
        splits = read_splits(args.splits)
        runs = list(plan_scores(args, splits) if args.score_run else plan(args, splits))
        if args.baseline and not args.score_run:
            own = {"system": BASELINE, "network": None, "features": args.baseline, "scheme": "none", "init": "random",
                   "seeds": "0", "tag": "", "config": None, "training": []}
            runs += [run for run in plan(argparse.Namespace(**vars(args) | own), splits)
                     if not args.trained_baseline or (run.folder / FINISHED).exists()]
        for run in runs:
            refuse_other_options(run)
        write_text(args.out, "".join(f"{run.line()}\n" for run in runs))


def driver_options(path: Path) -> list[str]:
    """Return what run.sh must be given to make the run of a config.yaml again; nothing for a file of options alone."""
    options, record = read_config(path)
    if not record:
        return []
    if source := record.get("source"):
        said = {"recipe": record.get("recipe"), "work-dir": record.get("work"), "folds": record.get("fold"),
                "tag": record.get("tag"), "score-run": source}
        return [word for name, value in said.items() if value not in (None, "") for word in (f"--{name}", str(value))]
    weights = init if Path(init := str(options.get("init", ""))).suffix in SUFFIXES else ""
    work, given = str(record.get("work") or ""), record.get("given")
    system = SYSTEMS.get(options.get("system", "mfcc"), SYSTEMS["mfcc"])
    said = {
        "recipe": record.get("recipe"), "work-dir": work if Path(work).is_dir() else "",
        "system": system.of or options.get("system"), "network": options.get("network"),
        "scheme": options.get("scheme"),
        "seeds": options.get("seed"), "init": "imagenet" if weights else init, "weights": weights,
        "folds": record.get("fold"), "train-data": record.get("train_data"), "tag": record.get("tag"),
    }
    words = [word for name, value in said.items() if value not in (None, "") for word in (f"--{name}", str(value))]
    return words + [str(word) for word in given] if isinstance(given, list) else words


def plan(args: argparse.Namespace, splits: list[dict]) -> Iterator[Run]:
    """Yield the runs, scheme by scheme, in each fold by fold, in each seed by seed.

    Raises:
        SerError: an option is wrong.
    """
    schemes, seeds = words(args.scheme, "--scheme"), words(args.seeds, "--seeds")
    for scheme in schemes:
        if scheme not in SCHEMES:
            raise SerError(f"--scheme: '{scheme}' is none of {', '.join(SCHEMES)}")
    for seed in seeds:
        if not re.fullmatch("0|[1-9][0-9]*", seed) or int(seed) >= 2**63:
            raise SerError(f"--seeds takes whole numbers under 2^63, not '{seed}'")
    network = args.network or next(iter(SYSTEMS[args.system].networks))
    features = args.features or args.system
    system = SYSTEMS[args.system]
    if network not in system.networks:
        raise SerError(f"--network: the system {args.system} has {', '.join(system.networks)}, not {network!r}")
    if not re.fullmatch(r"[\w+.-]*", args.tag, re.ASCII):
        raise SerError(f"--tag {args.tag!r}: letters, digits, '.', '+', '-' and '_' only")
    if args.weights and (args.init or system.start) != "imagenet":
        raise SerError(f"--weights {args.weights}: is of --init imagenet")
    if (start := args.init or system.start) == "imagenet":
        init_name, init = start, str(find_weights(network, args.weights))
    elif system.start == "encoder" and (start == "encoder" or is_encoder_folder(start) or is_speaker_folder(start)):
        init_name, init = "pretrained", os.path.abspath(args.encoder if start == "encoder" else start)
    elif system.start == "encoder" and start == "random":
        raise SerError("--init random: what has an encoder starts from that, or from a run that trained it on")
    else:
        init_name, init = named_init(start)
    options, tag = resolve(args, network, init)
    if not (system.can_join and system.networks[network].by_plan) and "none" in schemes and len(schemes) > 1:
        print(f"{features}-{network}: is trained on utterances as they are; of --scheme {args.scheme}, none alone")
        schemes = ["none"]
    for scheme in schemes:
        condition = "_".join(filter(None, (f"{features}-{network}", args.train_data, scheme, init_name, tag)))
        for split in splits:
            for seed in seeds:
                fold = split["fold"]
                place = Path(args.exp_dir, condition, *([] if fold is None else [f"fold{fold}"]), f"seed{seed}")
                of_run = {"scheme": scheme, "seed": int(seed), "init": init}
                yield Run(
                    os.getcwd(), str(place), tuple(split["train"]), split["dev"], split["tests"],
                    TrainOptions(**(asdict(options) | of_run)), args.device, args.recipe, args.task, features,
                    args.train_data, init_name, tag, fold, split["test_list"], tuple(args.given),
                )


def plan_scores(args: argparse.Namespace, splits: list[dict]) -> Iterator[Run]:
    """Yield the runs that score a trained one on another corpus, fold by fold.

    Raises:
        SerError: there is no such run, or it cannot be scored on this corpus with these features.
    """
    source = args.score_run.resolve()
    said = f"--score-run {args.score_run}"
    if not (source / CONFIG).is_file() or not (source / FINISHED).exists():
        raise SerError(f"{said}: no finished training there; name the folder of a run, …/seed<n>")
    options, record = TrainOptions.read([source / CONFIG]), read_config(source / CONFIG)[1]
    if options.labels != EMOTION_TABLE or record.get("source"):
        raise SerError(f"{said}: name the folder of a run that was trained on emotions")
    if options.system not in CARRIED:
        raise SerError(f"{said}: a run of the system {options.system}; those of {', '.join(CARRIED)} can be scored on "
                       "another corpus")
    if Path(record["work"]).resolve() == Path.cwd():
        raise SerError(f"{said}: a run of this corpus, which --stage 4 --config {source / CONFIG} scores")
    if args.config and not driver_options(args.config):
        raise SerError(f"{said}: nothing is trained, so leave out --config {args.config}")
    if (args.system, args.features or args.system) != (options.system, record["features"]):
        raise SerError(f"{said}: reads the features {record['features']}, not {args.features or args.system}; leave "
                       "out the options of the system, which are taken from the run")
    of_corpus, work = record["recipe"], Path(record["work"]).name
    name = re.sub("[^A-Za-z0-9.]+", "-", of_corpus if work == of_corpus else f"{of_corpus}-{work}")
    name += "" if record["fold"] is None else f"-fold{record['fold']}"
    train_data, tag = f"{record['train_data']}{ELSEWHERE}{name}", args.tag or record["tag"]
    condition = "_".join(filter(None, (f"{record['features']}-{options.network}", train_data, options.scheme,
                                       record["init"], tag)))
    for split in splits:
        fold = split["fold"]
        place = Path(args.exp_dir, condition, *([] if fold is None else [f"fold{fold}"]), f"seed{options.seed}")
        if (place / CONFIG).is_file() and (other := read_config(place / CONFIG)[1].get("source")) != str(source):
            raise SerError(f"{said}: {place} has the scores of {other}; give these a name of their own with --tag")
        yield Run(
            os.getcwd(), str(place), (), "", split["tests"], options, args.device, args.recipe, args.task,
            record["features"], train_data, record["init"], tag, fold, split["test_list"], tuple(args.given),
            str(source),
        )


def words(text: str, option: str) -> list[str]:
    """Return the words of an option's value, of which there must be one, and none twice."""
    listed = text.split()
    if not listed:
        raise SerError(f"{option} cannot be empty")
    if twice := next((word for word in listed if listed.count(word) > 1), None):
        raise SerError(f"{option}: '{twice}' is given twice in '{text}'")
    return listed


def named_init(init: str) -> tuple[str, str]:
    """Return how folders name a pre-trained model, and its absolute path; `random` for both where there is none.

    Folders of one name (seed0) are no reason to mix up what started from them: a checksum of the weights is added.
    """
    if init == "random":
        return init, init
    best = Path(init) / "best.pt"
    if not best.is_file():
        raise SerError(f"--init {init}: no best.pt there; name the folder of a pre-trained model, or random")
    name = re.sub("[^A-Za-z0-9.]+", "-", Path(init).resolve().name)
    return f"xvector-{name}-{zlib.crc32(best.read_bytes()):08x}", str(Path(init).resolve())


def resolve(args: argparse.Namespace, network: str, init: str) -> tuple[TrainOptions, str]:
    """Return the options of the runs and their tag."""
    fixed = {"system": args.system, "network": network, "labels": args.labels, "layer": args.layer,
             "layers": args.layers}
    if init == "random" and SYSTEMS[args.system].start != "random":
        fixed["freeze"] = ""  # layers that have learnt nothing are no use as they are
    places = [ROOT / "conf/train.yaml", ROOT / f"conf/{args.system}-{network}.yaml"]
    if not SYSTEMS[args.system].networks[network].by_loss:  # a recipe's own options are for recognising
        places.append(ROOT / "egs" / args.recipe / "conf/train.yaml")
    files: list[Path] = [path for path in places if path.is_file()]
    base, parts = TrainOptions.read(files, fixed), []
    configured = base
    if args.config:
        of_runs = {name: getattr(base, name) for name in OF_RUNS}
        configured = TrainOptions.read(files, read_values(args.config) | of_runs)
        if configured != base and not driver_options(args.config):  # a run's own config.yaml has its tag with it
            parts.append("" if PIPE.fullmatch(args.config.name) else args.config.stem)
    changes = {}
    for option, text in zip(args.training[::2], args.training[1::2], strict=True):
        name = option.removeprefix("--").replace("-", "_")
        changes[name] = checked(name, text, f"run.sh {option}")
    for name in sorted(changes):  # one training has one name, in whatever order and spelling its options are given
        if changes[name] != getattr(configured, name):
            parts.append(f"{name.replace('_', '-')}-{changes[name]}")
    tag = args.tag or re.sub(r"[^\w+.-]+", "-", "_".join(filter(None, parts)), flags=re.ASCII).strip("-")
    return TrainOptions(**(asdict(configured) | meant(changes))), tag


def read_splits(path: str) -> list[dict]:
    """Read the lines that a task writes of its folds."""
    text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    try:
        return [{"test_list": "", **{name: split[name] for name in ("fold", "train", "dev", "tests")}, **split}
                for split in map(json.loads, text.splitlines())]
    except (ValueError, KeyError, TypeError) as error:
        raise SerError(f"{path}: not lines with fold, train, dev and tests ({error})") from None


if __name__ == "__main__":
    run_main(main)
