#!/usr/bin/env python3
"""Energy VAD of a data directory, Kaldi's decisions, one job at a time; steps/compute_vad.sh runs the whole.

Reads feats.scp, whose column 0 is log energy, and writes vad.scp. Utterances without a voiced frame are named and
counted; steps/prepare_feats.sh drops them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ser.base.errors import SerError, run_main
from ser.base.kaldi_tables import read_table
from ser.base.progress import progress
from ser.data.arks import ArkWriter, read_arks
from ser.features.feature_step import FeatureStep, Summary, add_arguments, run_verb, scp_inputs
from ser.features.frontend import VadOptions, read_conf, vad


class ComputeVad(FeatureStep):
    name, stem, scp, what = "compute_vad", "vad", "vad.scp", "VAD"
    dropping = "without a voiced frame (steps/prepare_feats.sh drops them)"

    def __init__(self, config: Path) -> None:
        self.options = read_conf(config, VadOptions)

    def inputs(self, data: Path) -> dict[str, object]:
        return scp_inputs(data / "feats.scp")

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        features = read_arks(data / "feats.scp")
        for utterance, matrix in progress(features, len(read_table(data / "feats.scp")), "VAD"):
            if matrix.ndim != 2 or not np.isfinite(matrix).all():
                raise SerError(f"{data}/feats.scp: {utterance}: features are not finite; run steps/make_mfcc.sh")
            voiced = vad(matrix[:, 0], self.options)
            writer.write(utterance, voiced)
            if voiced.any():
                summary.frames[utterance] = len(voiced)
                summary.counts["of them voiced"] += int(voiced.sum())
            else:
                summary.drop(utterance, "no voiced frame: it is silent or far too quiet; remove it from the lists")

    def tables(self, data: Path, target: Path, summary: Summary) -> list[Path]:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--vad-config", type=Path, required=True, help="Kaldi option file of compute-vad")
    args = parser.parse_args()
    run_verb(ComputeVad(args.vad_config), args)


if __name__ == "__main__":
    run_main(main)
