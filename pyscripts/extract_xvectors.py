#!/usr/bin/env python3
"""X-vectors of a data directory, one job at a time; steps/extract_xvectors.sh runs the whole.

Reads feats.scp of a data directory ready for training, whole utterances, and runs a trained network over them. Writes
xvector.scp, per speaker the mean (spk_xvector.scp) and how many it is of (num_utts.ark), and xvectors.json, which says
what network they come from.
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
from ser.features.feature_step import FeatureStep, Summary, add_arguments, run_verb, scp_inputs

# What needs torch is imported where it is used: that all is up to date is said without it.


class ExtractXvectors(FeatureStep):
    """The step for one checkpoint.

    Args:
        checkpoint: the network.
        device: cpu or cuda.
        num_threads: CPU threads of a job; 0: as many as torch takes of itself.
        job_indices: the scp files that the jobs write, for the means over speakers.
    """

    name, stem, scp, what = "extract_xvectors", "xvector", "xvector.scp", "x-vectors"
    also = ("spk_xvector.scp", "spk_xvector.ark", "num_utts.ark", "xvectors.json")

    def __init__(self, checkpoint: Path, device: str, num_threads: int, job_indices: list[Path]) -> None:
        self.checkpoint, self.device, self.num_threads, self.job_indices = checkpoint, device, num_threads, job_indices
        self.options = (fingerprint(checkpoint), device)

    def check_front_end(self, data: Path) -> None:
        """That the network was trained on features made as these were: of others it would make nothing of use."""
        from ser.features.directories import front_end
        from ser.training.checkpoint import load_checkpoint

        trained, made = load_checkpoint(self.checkpoint)["front_end"], front_end([data])
        if trained != made:
            raise SerError(f"{data}: made with other options ({made!r}) than {self.checkpoint} was trained on "
                           f"({trained!r}); make its features with those (--mfcc-config of steps/make_mfcc.sh, --cmn "
                           "of steps/prepare_feats.sh)")

    def inputs(self, data: Path) -> dict[str, object]:
        features, speakers = scp_inputs(data / "feats.scp"), read_table(data / "utt2spk")
        return {utterance: (speakers.get(utterance), where) for utterance, where in features.items()}

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        import torch

        from ser.training.checkpoint import load_model
        from ser.training.device import set_up_device
        from ser.training.evaluation import xvectors

        if self.num_threads:
            torch.set_num_threads(self.num_threads)
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
        vectors = chain.from_iterable(read_arks(index) for index in self.job_indices if index.stat().st_size)
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


def prepare(step: ExtractXvectors, model: Path, args: argparse.Namespace) -> None:
    """Before jobs are started: withdraw what hangs together with the old x-vectors, and refuse what cannot work."""
    from ser.training.runs import FINISHED

    for name in step.also:
        (args.target / name).unlink(missing_ok=True)
    if model.is_dir() and not (model / FINISHED).exists():
        raise SerError(f"{model}: its training has not finished; finish it, or name {step.checkpoint}, its best epoch "
                       "so far")
    step.check_front_end(args.data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--model", type=Path, required=True, help="folder of a finished training, or a checkpoint")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(default: %(default)s)")
    parser.add_argument("--num-threads", type=int, default=0, metavar="N",
                        help="CPU threads (default: OMP_NUM_THREADS, else all cores)")
    args = parser.parse_args()
    if args.target is None or args.target.resolve() == args.data.resolve():
        raise SerError(f"{args.data}: x-vectors need a folder of their own")
    stem = f"{ExtractXvectors.stem}_{args.target.resolve().name}"
    indices = [args.ark_dir / f"{stem}.{job}.scp" for job in range(1, args.nj + 1)]
    checkpoint = args.model / "best.pt" if args.model.is_dir() else args.model
    step = ExtractXvectors(checkpoint, args.device, args.num_threads, indices)
    run_verb(step, args)
    if args.verb == "check" and not (args.target / step.scp).exists():
        prepare(step, args.model, args)


if __name__ == "__main__":
    run_main(main)
