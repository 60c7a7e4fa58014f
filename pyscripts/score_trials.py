#!/usr/bin/env python3
"""Score a list of verification trials by the cosine of their x-vectors; equal error rate and detection cost.

Writes OUT/scores (lines "<utterance> <utterance> <score>", in the list's order) and OUT/trials.json. A list that is
scored already, with the same x-vectors, is not scored again. A trial without an x-vector is an error.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from ser.base.errors import SerError, run_main
from ser.base.files import Marker, atomic_path, fingerprint, write_text
from ser.base.kaldi_tables import read_table
from ser.base.words import some
from ser.features.cmvn import BY_SPEAKER
from ser.features.feature_step import scp_inputs
from ser.scoring.verification import Trials, cosine_scores, eer, min_dcf, read_trials, read_xvectors


def describe(out: Path, record: dict[str, Any]) -> str:
    return (f"{out}: EER {100 * record['eer']:.2f} %, minDCF({record['p_target']:g}) {record['min_dcf']:.4f} over "
            f"{record['targets']} target and {record['nontargets']} non-target trials")


def write_scores(path: Path, trials: Trials, scores: np.ndarray) -> None:
    """Write scores with 9 digits, which a float32 survives unchanged: the figures can be computed from the file."""
    names = trials.utterances
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for (first, second), score in zip(trials.pairs.tolist(), scores.tolist(), strict=True):
            file.write(f"{names[first]} {names[second]} {score:.9g}\n")


def check(path: Path, data: Path) -> None:
    """Raise a SerError if all trials are of one kind, or a data directory lacks utterances of theirs."""
    trials = read_trials(path)
    targets = int(trials.targets.sum())
    if targets in (0, len(trials.targets)):
        kind = "non-target" if targets == 0 else "target"
        raise SerError(f"{path}: all {len(trials.targets)} trials are {kind} trials; error rates need both kinds")
    missing = sorted(set(trials.utterances) - read_table(data / "utt2spk").keys())
    if missing:
        raise SerError(
            f"{path}: {len(missing)} utterances of its trials are not in {data} ({some(missing, 3)}); the logs "
            "of the steps that made it say what was dropped; restore those recordings, or take the trials out"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=Path, required=True, metavar="FILE",
                        help='lines "<1|0> <utterance> <utterance>", 1: one speaker (as VoxCeleb\'s lists)')
    parser.add_argument("--xvectors", type=Path, metavar="DIR", help="folder of steps/extract_xvectors.sh")
    parser.add_argument("--out", type=Path, metavar="OUT", help="folder for the scores")
    parser.add_argument("--check", type=Path, metavar="DATA",
                        help="only check the trials, and that their utterances are in this data directory")
    parser.add_argument("--p-target", type=float, default=0.01, metavar="P",
                        help="probability of a target trial, of the detection cost (default: %(default)s)")
    args = parser.parse_args()
    if args.check:
        check(args.trials, args.check)
        return
    if args.xvectors is None or args.out is None:
        parser.error("--xvectors and --out are needed to score")
    if not 0 < args.p_target < 1:
        raise SerError(f"--p-target: {args.p_target} is not between 0 and 1")
    index, made_by = args.xvectors / "xvector.scp", args.xvectors / "xvectors.json"
    if not args.trials.exists():
        raise SerError(f"{args.trials}: no such trial list")
    scores_path, record_path = args.out / "scores", args.out / "trials.json"
    marker = Marker(args.out / ".trials.done", fingerprint(args.trials, scp_inputs(index), made_by, args.p_target))
    if marker.is_current():
        print(f"{describe(args.out, json.loads(record_path.read_text()))} (up to date)")
        return
    marker.clear()
    record_path.unlink(missing_ok=True)
    trials = read_trials(args.trials)
    made_with = json.loads(made_by.read_text()) if made_by.exists() else {}
    if BY_SPEAKER in made_with.get("front_end", "").splitlines():
        raise SerError(
            f"{args.xvectors}: of features normalised by speaker, which takes knowing who speaks in every recording, "
            "as the trials ask; score x-vectors of other features (--cmn sliding). The network can be given as --init"
        )
    scores = cosine_scores(read_xvectors(trials, args.xvectors), trials.pairs)
    record = {
        "eer": eer(scores, trials.targets), "min_dcf": min_dcf(scores, trials.targets, args.p_target),
        "p_target": args.p_target, "c_miss": 1.0, "c_fa": 1.0,
        "targets": int(trials.targets.sum()), "nontargets": int((~trials.targets).sum()),
        "trials": str(args.trials), "xvectors": str(args.xvectors),
        "checkpoint": made_with.get("checkpoint"),
    }
    write_scores(scores_path, trials, scores)
    write_text(record_path, json.dumps(record, indent=1) + "\n")
    marker.write([scores_path, record_path])
    print(describe(args.out, record))


if __name__ == "__main__":
    run_main(main)
