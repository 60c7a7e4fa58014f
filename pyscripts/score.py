#!/usr/bin/env python3
"""Score a trained run on test sets: posteriors of whole utterances, then the metrics.

Leaves RUN/score_NAME/{predictions.tsv,score.json} for every test set. One that is scored already, by the same
checkpoint on the same features, is left as it is. Utterances without features or label are an error.

The set named test_diluted is made here, of the directory of the clean one: every utterance joined, before or after, to
a neutral one of its speaker; the column `parts` says to which. Where it cannot be made, score.json says why. A test set
of blocks leaves RUN/score_NAME_utterances too, in which an utterance has the mean of its blocks' posteriors.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ser.augment.dilution import DILUTED_TEST, Dilution, dilute
from ser.base.arguments import named_folder
from ser.base.errors import SerError, run_main
from ser.data.datadir import DataDir
from ser.data.labels import EMOTION_TABLE, NEUTRAL, Labels
from ser.data.rearrange import listed_utterances
from ser.data.segments import utterance_of
from ser.features.cmvn import BY_SPEAKER
from ser.scoring.metrics import MEASURES
from ser.scoring.predictions import average_by, check_complete, recordings_used, write_no_score, write_score
from ser.training.checkpoint import load_model
from ser.training.device import set_up_device
from ser.training.evaluation import posteriors
from ser.training.frozen import frozen_for_evaluation
from ser.training.optimiser import freeze
from ser.training.options import TrainOptions
from ser.training.run_folder import FINISHED, at_work, score_marker
from ser.training.runs import read_run
from ser.training.systems import SYSTEMS, Store, System


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, metavar="RUN", help="folder of the training, with best.pt")
    parser.add_argument("--tests", type=named_folder, nargs="+", metavar="NAME=DATA",
                        help="a test set's name and its data directory with features")
    parser.add_argument("--runs", type=Path, metavar="FILE", help="file of runs, instead of --run and --tests")
    parser.add_argument("--job", type=int, metavar="N", help="number of the run in --runs, from 1")
    parser.add_argument("--allow-unfinished", action="store_true",
                        help="score the best epoch so far of a training that has not finished")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="(default: auto, or what --runs says)")
    parser.add_argument("--num-threads", type=int, default=0, metavar="N",
                        help="CPU threads (default: OMP_NUM_THREADS, else all cores)")
    args = parser.parse_args()
    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    if args.runs and args.job is not None and not args.run and not args.tests:
        run = read_run(args.runs, args.job)
        os.chdir(run.work)
        folder, tests, device = Path(run.out), {name: Path(data) for name, data in run.tests.items()}, run.device
        listed = listed_utterances(run.test_list) if run.test_list else set()
    elif args.run and args.tests and not args.runs:
        folder, tests, device, listed = args.run, dict(args.tests), "auto", set()
    else:
        parser.error("name a run and its tests (--run, --tests), or a line of a file of runs (--runs, --job)")
    if not (folder / FINISHED).exists() and not args.allow_unfinished:
        raise SerError(f"{folder}: its training has not finished; run.sh --stage 3 finishes it (--allow-unfinished)")
    with at_work(folder, "is being scored"):
        score_tests(folder, tests, listed, set_up_device(args.device or device))


def score_tests(run: Path, tests: dict[str, Path], listed: set[str], device: torch.device) -> None:
    """Score one run on every test set that it has not been scored on; `listed` are all utterances, if known."""
    model: nn.Module | None = None
    for name, data in tests.items():
        marker = score_marker(run, name, data)
        if marker.is_current():
            print(f"{marker.path.parent / 'score.json'} is up to date", flush=True)
            continue
        marker.clear()
        if model is None:
            model, checkpoint = load_model(run / "best.pt", device)
            freeze(model, TrainOptions(**checkpoint["options"]))
        marker.write(score_test(run, name, data, listed, model, checkpoint, device))


def score_test(
    run: Path, name: str, data: Path, listed: set[str], model: nn.Module, checkpoint: dict, device: torch.device
) -> list[Path]:
    """Score a network on one test set and return the files written.

    Raises:
        SerError: the test set was made by another front end, or lacks features or labels; a posterior is not finite.
    """
    options = TrainOptions.read([run / "config.yaml"])
    system, classes, best = SYSTEMS[options.system], checkpoint["classes"], run / "best.pt"
    if (front_end := system.front_end([data])) != checkpoint["front_end"]:
        raise SerError(f"{data}: made with other options ({front_end!r}) than {best} was trained on "
                       f"({checkpoint['front_end']!r}); make its features with those (run.sh stages 1 and 2)")
    lists, store = DataDir(data), system.load([data], device)
    check_complete(lists.utterances, store.utterances)
    utterances, table = list(store.utterances), lists.table("utt2spk")
    speakers = [table[utterance] for utterance in utterances]
    labels = Labels.read([data], utterances, classes, EMOTION_TABLE).indices
    examples, plan, more = range(len(utterances)), None, {}
    if name == DILUTED_TEST:
        dilution = dilute_store(system, store, speakers, labels, classes)
        if isinstance(dilution, str):
            print(f"{name}: left empty, since {dilution}", flush=True)
            return [write_no_score(run, name, dilution)]
        examples, plan = dilution.examples, dilution.plan
        more = {"parts": [" ".join(utterances[part] for part in parts) for parts in plan.utterances],
                "left_out": len(dilution.left_out)}
        if more["left_out"]:
            print(f"{name}: left out {more['left_out']} utterances, whose speakers have no second neutral one: "
                  + " ".join(utterances[index] for index in dilution.left_out), flush=True)
    probabilities = posteriors(model, frozen_for_evaluation(store, str(data), model), plan)
    if not np.isfinite(probabilities).all():
        raise SerError(f"{best}: its posteriors on {data} are not finite; train again with --precision fp32")
    made_by = {
        "path": best, "options": asdict(options), "epoch": checkpoint["epoch"], "front_end": front_end,
        **{key: figure for key, figure in checkpoint.items() if key.startswith("dev_")},
    }
    record = write_score(
        run, name, [utterances[index] for index in examples], [speakers[index] for index in examples],
        [classes[labels[index]] for index in examples], probabilities, classes, made_by,
        dropped=len(listed - set(utterances)), normalised_over=recordings_behind(lists, front_end), **more,
    )
    print_figures(name, record)
    if record["normalised_over"]:
        print(f"{name}: features are normalised over the test speakers' own recordings, without labels "
              f"({recordings_used(record['normalised_over'])})", flush=True)
    scored, whole = [name], [utterance_of(utterance) for utterance in utterances]
    if whole != utterances and plan is None:
        # Blocks are scored as utterances too, each by the mean of its blocks' posteriors.
        scored.append(f"{name}_utterances")
        names, first, means = average_by(whole, probabilities)
        record = write_score(
            run, scored[-1], names, [speakers[row] for row in first], [classes[labels[row]] for row in first], means,
            classes, made_by, dropped=len(set(map(utterance_of, listed)) - set(names)),
            normalised_over=record["normalised_over"],
        )
        print_figures(scored[-1], record)
    return [run / f"score_{test}" / file for test in scored for file in ("predictions.tsv", "score.json")]


def print_figures(test: str, record: dict) -> None:
    """Print every measure of a score."""
    figures = ", ".join(f"{measure.title} {100 * record[key]:.2f}" for key, measure in MEASURES.items())
    print(f"{test}: {figures} over {record['utterances']} utterances", flush=True)


def recordings_behind(data: DataDir, front_end: str) -> dict[str, int]:
    """Return over how many recordings of each speaker features were normalised; nothing if it was not by speaker."""
    if BY_SPEAKER not in front_end.splitlines():
        return {}
    speakers = data.table("utt2spk")
    return {speakers[utterance]: int(number) for utterance, number in data.table("utt2num_cmvn").items()}


def dilute_store(
    system: System, store: Store, speakers: Sequence[str], labels: np.ndarray, classes: Sequence[str]
) -> Dilution | str:
    """Return the diluted test of a store's utterances, or the reason why there is none."""
    if not system.can_join:
        return "examples without a length cannot be joined"
    if NEUTRAL not in classes:
        return f"there is no class {NEUTRAL}"
    dilution = dilute(store.utterances, speakers, labels, store.lengths, classes.index(NEUTRAL))
    return dilution if len(dilution.plan) else f"no speaker has two {NEUTRAL} utterances"


if __name__ == "__main__":
    run_main(main)
