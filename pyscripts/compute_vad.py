#!/usr/bin/env python3
"""Energy voice activity detection on a data directory's features, Kaldi's decisions.

Example: steps/compute_vad.sh --nj 4 --cmd "$train_cmd" data/train

Reads feats.scp, whose column 0 must be log energy, and writes vad.scp in <data>; arks go to <ark-dir> (<data>/data),
logs to <log> (<data>/log). Utterances without a single voiced frame are named in the log and listed in
<log>/compute_vad_<name>.dropped; steps/prepare_feats.sh drops them. Above a share of --max-drop that is an error.
What is up to date is not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ser.base.errors import SerError, run_main
from ser.base.kaldi_tables import read_table
from ser.base.progress import progress
from ser.data.arks import ArkWriter, read_arks
from ser.features.feature_step import FeatureStep, Summary, add_arguments, run_step, scp_inputs
from ser.features.frontend import VadOptions, read_conf, vad

_CONF = Path(__file__).resolve().parent.parent / "conf"


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
    parser.add_argument("--vad-config", type=Path, default=_CONF / "vad.conf", metavar="FILE",
                        help="options of Kaldi's compute-vad (default: conf/vad.conf)")
    args = parser.parse_args()
    run_step(ComputeVad(args.vad_config), args)


if __name__ == "__main__":
    run_main(main)
