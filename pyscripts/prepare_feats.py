#!/usr/bin/env python3
"""Mean normalisation and voiced-frame selection, one job at a time; steps/prepare_feats.sh runs the whole.

Reads feats.scp and vad.scp of a data directory and writes another one, whose feats.scp is ready for training and whose
utt2spk, spk2utt, utt2emo and utt2uniq have the utterances with voiced frames.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ser.base.errors import SerError, run_main
from ser.base.files import write_text
from ser.base.kaldi_tables import read_table, write_table
from ser.base.progress import progress
from ser.data.arks import ArkWriter, read_arks
from ser.data.datadir import spk2utt
from ser.features.feature_step import FeatureStep, Summary, add_arguments, add_compress, run_verb, scp_inputs
from ser.features.frontend import sliding_cmn, utterance_cmn

_CMN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sliding": sliding_cmn,
    "utterance": utterance_cmn,
    "none": lambda features: features,
}
_UTTERANCE_TABLES = ("utt2spk", "utt2emo", "utt2uniq")  # what is carried over, where the data directory has it
_OPTION_FILES = ("frame_shift", "conf/mfcc.conf")


class PrepareFeats(FeatureStep):
    name, stem, scp, what = "prepare_feats", "feats", "feats.scp", "normalised voiced features"

    def __init__(self, cmn: str, compress: bool = False) -> None:
        self.options = self.cmn = cmn
        self.compress = compress

    def inputs(self, data: Path) -> dict[str, object]:
        conf = [path.read_text() if path.exists() else None for path in (data / n for n in _OPTION_FILES)]
        tables = [scp_inputs(data / name) for name in ("feats.scp", "vad.scp")]
        tables += [read_table(data / name) for name in _UTTERANCE_TABLES if (data / name).exists()]
        return {utterance: (conf, *(table.get(utterance) for table in tables)) for utterance in tables[0]}

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        total = len(read_table(data / "feats.scp"))
        pairs = itertools.zip_longest(
            read_arks(data / "feats.scp"), read_arks(data / "vad.scp"), fillvalue=("nothing", np.zeros(0))
        )
        for (utterance, matrix), (other, voiced) in progress(pairs, total, "normalised"):
            if utterance != other:
                raise SerError(f"{data}: feats.scp has {utterance} where vad.scp has {other}; run steps/compute_vad.sh")
            if len(voiced) != len(matrix):
                raise SerError(
                    f"{data}: {utterance} has {len(matrix)} frames in feats.scp and {len(voiced)} in vad.scp; "
                    "run steps/compute_vad.sh again"
                )
            selected = _CMN[self.cmn](matrix)[voiced > 0]
            if len(selected) == 0:
                summary.drop(utterance, "has no voiced frame; remove it from the lists")
                continue
            writer.write(utterance, selected)
            summary.frames[utterance] = len(selected)

    def tables(self, data: Path, target: Path, summary: Summary) -> list[Path]:
        written = []
        for name in _UTTERANCE_TABLES:
            (target / name).unlink(missing_ok=True)
            if (data / name).exists():
                table = read_table(data / name)
                write_table(target / name, {utt: table[utt] for utt in summary.frames if utt in table})
                written.append(target / name)
        write_table(target / "spk2utt", spk2utt(read_table(target / "utt2spk")))
        written.append(target / "spk2utt")
        for name in _OPTION_FILES:
            if (data / name).exists():
                write_text(target / name, (data / name).read_text())
                written.append(target / name)
        write_text(target / "conf" / "cmn.conf", f"--cmn={self.cmn}\n")
        written.append(target / "conf" / "cmn.conf")
        write_table(target / "utt2num_frames", summary.frames)
        return [target / "utt2num_frames", *written]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--cmn", choices=tuple(_CMN), default="sliding", help="mean normalisation (default: sliding)")
    add_compress(parser)
    args = parser.parse_args()
    if args.target is None or args.target.resolve() == args.data.resolve():
        raise SerError(f"{args.data}: the prepared features need a directory of their own")
    run_verb(PrepareFeats(args.cmn, args.compress == "true"), args)


if __name__ == "__main__":
    run_main(main)
