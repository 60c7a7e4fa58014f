#!/usr/bin/env python3
"""Fit the codebook of units: k-means on the hidden states of data directories.

Example: steps/make_encoder_feats.sh --encoder models/hubert-base --layer 6 data/train_hubert
         steps/fit_codebook.sh --cmd "$train_cmd" --num-units 200 data/train_hubert exp/codebook.npz
         steps/extract_units.sh --encoder models/hubert-base --layer 6 --codebook exp/codebook.npz data/train

Reads feats.scp and conf/encoder.conf of every <data>, all that steps/make_encoder_feats.sh wrote. Of more than --frames
frames, whole utterances drawn at random are taken; those are held in memory (2 GB for a million frames of 512 numbers).
Give the recordings that the synthesis is trained on: a codebook is fitted once and used for all folds. What is up to
date is not fitted again; a fitting that was killed starts again from the beginning.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ser.base.arguments import positive
from ser.base.errors import SerError, run_main
from ser.base.files import Marker, fingerprint
from ser.base.kaldi_tables import read_table
from ser.base.progress import progress
from ser.data.arks import read_arks
from ser.features.directories import features_digest, front_end
from ser.features.feature_step import add_job_arguments, run_jobs
from ser.features.hidden_states import HiddenStates
from ser.features.units import Codebook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_job_arguments(parser)
    parser.add_argument("--num-units", type=positive, default=200, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--frames",
        type=positive,
        default=500_000,
        metavar="N",
        help="about how many frames it is fitted to (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all draws (default: 0)")
    parser.add_argument("data", nargs="+", type=Path, metavar="<data>", help="data directories with hidden states")
    parser.add_argument("codebook", type=Path, metavar="<codebook>", help=".npz file to write")
    args = parser.parse_args()
    if args.codebook.suffix != ".npz":
        raise SerError(f"{args.codebook}: a codebook's file ends in .npz")
    encoder = front_end(args.data)
    if not HiddenStates.makes(encoder):
        raise SerError(
            f"{args.data[0]}: has no hidden states as the encoder gives them; make them in a copy of it "
            "(steps/make_encoder_feats.sh)"
        )
    marker = Marker(
        args.codebook.with_name(f".{args.codebook.name}.done"),
        fingerprint(features_digest(args.data), encoder, args.num_units, args.frames, args.seed),
    )
    if marker.is_current():
        print(f"{args.codebook}: codebook is up to date")
    elif args.job is None:
        run_jobs(args.cmd, 1, args.codebook.parent / "log" / "fit_codebook.JOB.log")
        print(f"{args.codebook}: {args.num_units} units")
    else:
        marker.clear()
        states = _states(args.data, args.frames, np.random.default_rng(args.seed))
        codebook = Codebook.fit(states, args.num_units, args.seed, encoder)
        codebook.write(args.codebook)
        marker.write([args.codebook])
        shares = np.bincount(codebook.units(states), minlength=args.num_units) / len(states)
        perplexity = np.exp(-np.sum(shares[shares > 0] * np.log(shares[shares > 0])))
        print(f"{args.codebook}: {args.num_units} units of {len(states)} frames, perplexity {perplexity:.0f}")


def _states(data: list[Path], most: int, random: np.random.Generator) -> np.ndarray:
    """Return the hidden states (n, D) of utterances drawn without replacement until there are enough."""
    counts = [
        (folder, utterance, int(frames))
        for folder in data
        for utterance, frames in read_table(folder / "utt2num_frames").items()
    ]
    order = random.permutation(len(counts))
    total = np.cumsum([counts[index][2] for index in order])
    chosen = {counts[index][:2] for index in order[: np.searchsorted(total, most) + 1]}
    found = (
        states
        for folder in data
        for utterance, states in read_arks(folder / "feats.scp")
        if (folder, utterance) in chosen
    )
    return np.concatenate([states.astype(np.float32) for states in progress(found, len(chosen), "read")])


if __name__ == "__main__":
    run_main(main)
