#!/usr/bin/env python3
"""X-vectors of every utterance: the outputs of the layer before the last of a trained network.

Example: steps/extract_xvectors.sh --nj 4 --cmd "$train_cmd" exp/voxceleb/seed0 data/test_voiced exp/voxceleb/xvectors
         steps/extract_xvectors.sh --nj 1 --cmd "run.py --gpu 1" --device cuda …

<model> is the folder of a finished training, whose best epoch is used, or a checkpoint; <data> holds features ready
for training (steps/prepare_feats.sh), made by the same front end as the training's: others are refused.
Writes Kaldi vectors in <out-data>: xvector.scp, for each speaker their mean, spk_xvector.scp, and number,
num_utts.ark, and xvectors.json, which says what network they come from; arks go to <ark-dir> (<out-data>/data), logs
to <log> (<out-data>/log). An utterance without features is an error; those without a frame are named in the log and
listed in <log>/extract_xvectors_<name>.dropped, and above a share of --max-drop that is an error too. What is up to
date is not made again, nor what finished jobs left of a run that was killed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from ser.base.errors import SerError, run_main
from ser.base.files import fingerprint, write_text
from ser.base.kaldi_tables import read_table, write_table
from ser.base.progress import progress
from ser.data.arks import ArkWriter, read_arks
from ser.features.feature_step import FeatureStep, Summary, add_arguments, run_step, scp_inputs

# What needs torch is imported where it is used: that all is up to date is said without it.


class ExtractXvectors(FeatureStep):
    """The step for one network.

    Args:
        model: folder of a finished training, or a checkpoint.
        device: cpu or cuda.
    """

    name, stem, scp, what = "extract_xvectors", "xvector", "xvector.scp", "x-vectors"
    own_target = True
    also = ("spk_xvector.scp", "spk_xvector.ark", "num_utts.ark", "xvectors.json")

    def __init__(self, model: Path, device: str) -> None:
        self.model, self.device = model, device
        self.checkpoint = model / "best.pt" if model.is_dir() else model
        self.options = (fingerprint(self.checkpoint), device)

    def before_jobs(self, data: Path, target: Path) -> None:
        from ser.training.run_folder import FINISHED

        for name in self.also:
            (target / name).unlink(missing_ok=True)
        if self.model.is_dir() and not (self.model / FINISHED).exists():
            raise SerError(f"{self.model}: its training has not finished; finish it, or name {self.checkpoint}, its "
                           "best epoch so far")
        self.check_front_end(data)

    def check_front_end(self, data: Path) -> None:
        """That the network was trained on features made as these were: of others it would make nothing of use."""
        from ser.features.directories import front_end, require_front_end
        from ser.training.checkpoint import load_checkpoint

        require_front_end(
            front_end([data]), load_checkpoint(self.checkpoint)["front_end"], data, self.checkpoint, "make its "
            "features with those (--mfcc-config of steps/make_mfcc.sh, --cmn of steps/prepare_feats.sh)")

    def inputs(self, data: Path) -> dict[str, object]:
        features, speakers = scp_inputs(data / "feats.scp"), read_table(data / "utt2spk")
        return {utterance: (speakers.get(utterance), where) for utterance, where in features.items()}

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        from ser.training.checkpoint import load_model
        from ser.training.device import set_up_device
        from ser.training.evaluation import xvectors

        model, _ = load_model(self.checkpoint, device := set_up_device(self.device))
        for utterance, vector in xvectors(model, _features(data, summary), device):
            if not np.isfinite(vector).all():
                raise SerError(f"{self.checkpoint}: the x-vector of {utterance} is not finite; train again with "
                               "--precision fp32")
            writer.write(utterance, vector)

    def tables(self, data: Path, target: Path, summary: Summary) -> list[Path]:
        from ser.training.checkpoint import load_checkpoint

        speakers = read_table(data / "utt2spk")
        sums: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}
        vectors = chain.from_iterable(read_arks(index) for index in self.indices)
        for utterance, vector in progress(vectors, len(summary.frames), "means over speakers"):
            speaker = speakers[utterance]
            sums[speaker] = sums.get(speaker, 0) + vector.astype(np.float64)
            counts[speaker] = counts.get(speaker, 0) + 1
        paths = [target / name for name in self.also]
        with ArkWriter(paths[1], paths[0]) as writer:
            for speaker in sorted(sums, key=str.encode):
                writer.write(speaker, (sums[speaker] / counts[speaker]).astype(np.float32))
        write_table(paths[2], counts)
        checkpoint = load_checkpoint(self.checkpoint)
        record = {
            "data": str(data), "utterances": len(summary.frames), "speakers": len(counts),
            "checkpoint": {
                "path": str(self.checkpoint), "epoch": checkpoint.get("epoch"), "digest": checkpoint.get("digest"),
            },
            "front_end": checkpoint["front_end"], "device": self.device,
        }
        write_text(paths[3], json.dumps(record, indent=1) + "\n")
        return paths


def _features(data: Path, summary: Summary) -> Iterator[tuple[str, np.ndarray]]:
    """A split's utterances and their features (frames, D), but for those without a frame, which are dropped."""
    scp, dimension = data / "feats.scp", 0
    for utterance, matrix in progress(read_arks(scp), len(read_table(scp)), "x-vectors"):
        if not len(matrix):
            summary.drop(utterance, "has no frame; remove it from the lists")
            continue
        dimension = dimension or matrix.shape[-1]
        if matrix.ndim != 2 or matrix.shape[1] != dimension or not np.isfinite(matrix).all():
            raise SerError(f"{scp}: {utterance} has features of shape {matrix.shape}, expected (frames, {dimension}), "
                           "all finite; run steps/prepare_feats.sh again")
        summary.frames[utterance] = len(matrix)
        yield utterance, np.asarray(matrix, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="<model>", help="folder of a finished training, or a checkpoint")
    add_arguments(parser, target=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu",
                        help="with cuda, RUNNER should give each job a GPU (default: cpu)")
    args = parser.parse_args()
    run_step(ExtractXvectors(args.model, args.device), args)


if __name__ == "__main__":
    run_main(main)
