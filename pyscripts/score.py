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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ser.augment.dilution import DILUTED_TEST, Dilution, dilute
from ser.base.arguments import named_folder
from ser.base.errors import SerError, run_main
from ser.base.words import some
from ser.data.datadir import DataDir
from ser.data.labels import EMOTION_TABLE, NEUTRAL, Labels
from ser.data.rearrange import listed_utterances
from ser.data.segments import utterance_of
from ser.features.cmvn import BY_SPEAKER
from ser.features.directories import require_front_end
from ser.scoring.common_classes import over_common_classes
from ser.scoring.metrics import MEASURES
from ser.scoring.predictions import (
    OF_UTTERANCES,
    average_by,
    check_complete,
    recordings_used,
    write_no_score,
    write_score,
)
from ser.training.checkpoint import load_model
from ser.training.device import set_up_device
from ser.training.evaluation import posteriors
from ser.training.frozen import frozen_for_evaluation
from ser.training.optimiser import freeze
from ser.training.options import TrainOptions
from ser.training.run_folder import FINISHED, adopt, at_work, score_marker
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
    args = parser.parse_args()
    if args.runs and args.job is not None and not args.run and not args.tests:
        run = read_run(args.runs, args.job)
        os.chdir(run.work)
        folder, tests, device = Path(run.out), {name: Path(data) for name, data in run.tests.items()}, run.device
        listed, source = listed_utterances(run.test_list) if run.test_list else set(), Path(run.source or run.out)
        corpus = classes_of(Path(run.test_list)) if run.source else None
    elif args.run and args.tests and not args.runs:
        folder, tests, device, listed, source, corpus = args.run, dict(args.tests), "auto", set(), args.run, None
    else:
        parser.error("name a run and its tests (--run, --tests), or a line of a file of runs (--runs, --job)")
    if not (source / FINISHED).exists() and not args.allow_unfinished:
        raise SerError(f"{source}: its training has not finished; run.sh --stage 3 finishes it (--allow-unfinished)")
    with at_work(folder, "is being scored"):
        if source != folder:
            adopt(run)
        score_tests(folder, tests, listed, set_up_device(args.device or device), corpus)


def classes_of(test_list: Path) -> list[str]:
    """Return the classes of a corpus, which those of its train, dev and test lists are."""
    tables = (DataDir(test_list.with_name(name)).table(EMOTION_TABLE) for name in ("train", "dev", "test"))
    return sorted({emotion for table in tables for emotion in table.values()})


def score_tests(
    run: Path, tests: dict[str, Path], listed: set[str], device: torch.device, corpus: Sequence[str] | None = None
) -> None:
    """Score one run on every test set that it has not been scored on.

    Args:
        listed: all utterances of the test sets, if known.
        corpus: the classes of the tests' corpus, where it is another than the run was trained on.
    """
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
        marker.write(score_test(run, name, data, listed, model, checkpoint, device, corpus))


def score_test(
    run: Path, name: str, data: Path, listed: set[str], model: nn.Module, checkpoint: dict, device: torch.device,
    corpus: Sequence[str] | None = None,
) -> list[Path]:
    """Score a network on one test set, as `score_tests` does, and return the files written.

    Raises:
        SerError: the test set was made by another front end, or lacks features or labels; a posterior is not finite.
    """
    options = TrainOptions.read([run / "config.yaml"])
    system, best = SYSTEMS[options.system], run / "best.pt"
    known, classes = checkpoint["classes"], corpus or checkpoint["classes"]
    front_end = system.front_end([data])
    require_front_end(front_end, checkpoint["front_end"], data, best, "make its features with those (run.sh stages 1 "
                      "and 2)")
    lists, store = DataDir(data), system.load([data], device)
    check_complete(lists.utterances, store.utterances)
    utterances, table = list(store.utterances), lists.table("utt2spk")
    speakers = [table[utterance] for utterance in utterances]
    labels = Labels.read([data], utterances, classes, EMOTION_TABLE).indices
    examples, plan, more = np.arange(len(utterances)), None, {}
    if name == DILUTED_TEST:
        longest = getattr(model, "longest", np.inf)  # samples that an encoder takes
        dilution = dilute_store(system, store, speakers, labels, classes, longest)
        if isinstance(dilution, str):
            print(f"{name}: left empty, since {dilution}", flush=True)
            return [write_no_score(run, name, dilution)]
        examples, plan = dilution.examples, dilution.plan
        more = {"parts": [" ".join(utterances[part] for part in parts) for parts in plan.utterances],
                "left_out": len(dilution.left_out)}
        print_left_out(name, [utterances[index] for index in dilution.left_out], longest < np.inf)
    probabilities = posteriors(model, frozen_for_evaluation(store, str(data), model), plan)
    if not np.isfinite(probabilities).all():
        raise SerError(f"{best}: its posteriors on {data} are not finite; train again with --precision fp32")
    answers = Answers(
        [utterances[index] for index in examples], [speakers[index] for index in examples],
        [classes[labels[index]] for index in examples], probabilities, more,
    )
    if corpus:
        answers = answers.of_classes(known, classes)
        print_classes(name, classes, answers.more["other_classes"], answers.more["unknown_classes"])
    made_by = {
        "path": best, "options": asdict(options), "epoch": checkpoint["epoch"], "front_end": front_end,
        "train_utterances": checkpoint.get("examples"),
        **{key: figure for key, figure in checkpoint.items() if key.startswith("dev_")},
    }
    behind, scored = recordings_behind(lists, front_end), {name: (answers, listed - set(utterances))}
    if plan is None and (whole := answers.of_utterances()) is not answers:
        scored[name + OF_UTTERANCES] = whole, set(map(utterance_of, listed)) - set(whole.utterances)
    for test, (answers, dropped) in scored.items():
        record = write_score(run, test, answers.utterances, answers.speakers, answers.emotions, answers.probabilities,
                             classes, made_by, dropped=len(dropped), normalised_over=behind, **answers.more)
        print_figures(test, record)
    if behind:
        print(f"{name}: features are normalised over the test speakers' own recordings, without labels "
              f"({recordings_used(behind)})", flush=True)
    return [run / f"score_{test}" / file for test in scored for file in ("predictions.tsv", "score.json")]


@dataclass(frozen=True)
class Answers:
    """What a network says of N examples, which each have the name, speaker and emotion of an utterance.

    Attributes:
        probabilities: (N, classes) float.
        more: what else stands in the score's record; of `parts`, each example has one.
    """

    utterances: list[str]
    speakers: list[str]
    emotions: list[str]
    probabilities: np.ndarray
    more: dict[str, Any]

    def of_classes(self, known: Sequence[str], classes: Sequence[str]) -> Answers:
        """Return the answers over another corpus's classes, without examples of those that the network does not know.
        """
        unknown = {name: self.emotions.count(name) for name in classes if name not in known}
        kept = [row for row, emotion in enumerate(self.emotions) if emotion in known]
        more = self.more | {"unknown_classes": unknown,
                            "other_classes": [name for name in known if name not in classes]}
        if "parts" in more:
            more["parts"] = [more["parts"][row] for row in kept]
        columns = [[column[row] for row in kept] for column in (self.utterances, self.speakers, self.emotions)]
        return Answers(*columns, over_common_classes(self.probabilities, known, classes)[kept], more)

    def of_utterances(self) -> Answers:
        """Return the answers for whole utterances, each the mean of its blocks'; themselves where there are no blocks.
        """
        whole = [utterance_of(utterance) for utterance in self.utterances]
        if whole == self.utterances:
            return self
        names, first, means = average_by(whole, self.probabilities)
        speakers, emotions = ([of[row] for row in first] for of in (self.speakers, self.emotions))
        return Answers(names, speakers, emotions, means, {})


def print_left_out(test: str, utterances: Sequence[str], limited: bool) -> None:
    """Print which utterances the diluted test lacks; with `limited` the network takes no examples of any length."""
    if utterances:
        print(f"{test}: left out {len(utterances)} utterances, whose speakers have no second neutral one"
              f"{', or which are too long for the network once joined' * limited}: {' '.join(utterances)}", flush=True)


def print_classes(test: str, classes: Sequence[str], other: Sequence[str], unknown: dict[str, int]) -> None:
    """Print over which classes the network of another corpus is scored, and what is left out."""
    parts = [f"over the classes {some([name for name in classes if name not in unknown])}"]
    if unknown:
        counts = ", ".join(f"{name} ({number})" for name, number in unknown.items())
        parts.append(f"utterances left out, since the network does not know them: {counts}")
    if other:
        parts.append(f"left out of its answers, since this corpus does not have them: {', '.join(other)}")
    print(f"{test}: {'; '.join(parts)}", flush=True)


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
    system: System,
    store: Store,
    speakers: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
    longest: float,
) -> Dilution | str:
    """Return the diluted test of a store's utterances, or the reason why there is none."""
    if not system.can_join:
        return "examples without a length cannot be joined"
    if NEUTRAL not in classes:
        return f"there is no class {NEUTRAL}"
    dilution = dilute(store.utterances, speakers, labels, store.lengths, classes.index(NEUTRAL), longest)
    return dilution if len(dilution.plan) else f"no speaker has two {NEUTRAL} utterances"


if __name__ == "__main__":
    run_main(main)
