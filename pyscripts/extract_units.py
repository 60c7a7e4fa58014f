#!/usr/bin/env python3
"""Units of speech: the nearest of a codebook's centres to each hidden state of a pretrained encoder.

Example: steps/extract_units.sh --nj 4 --cmd "$train_cmd" --encoder models/hubert-base --layer 6 --codebook km200.npy
           data/train

The codebook is what steps/fit_codebook.sh writes, or an .npy file of centres (units, dimensions), such as the released
ones'. Reads audio as steps/make_encoder_feats.sh does, and drops what that drops;
silence at both ends is left out, as steps/make_mel.sh does. Writes in <data>:
  units.txt        `<utterance> 23 2 57 …`, repetitions removed
  units.scp        the unit of each frame (20 ms), repetitions and all; arks go to <ark-dir> (<data>/data)
  conf/units.conf  the encoder's and the codebook's hashes; whoever reads units of others refuses them
Other tables and features stay. What is up to date is not made again. A GPU is used where the job sees one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ser.base.errors import run_main
from ser.base.files import write_text
from ser.base.kaldi_tables import write_table
from ser.data.arks import ArkWriter, read_arks
from ser.features.encoder_step import EncoderStep, add_encoder_arguments
from ser.features.feature_step import Summary, run_step
from ser.features.units import CONF, UNITS, Codebook, deduplicate


class ExtractUnits(EncoderStep):
    name, stem, scp, what = "extract_units", "units", "units.scp", "units"
    trim = True

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.codebook = Codebook.read(args.codebook)
        self.codebook.check(self.describe(), self.folder.dim, args.codebook)
        self.options = [*self.options, self.codebook.describe()]

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        for utterance, states in self.states(data, summary):
            units = self.codebook.units(states)
            writer.write(utterance, units.astype(np.float32))
            summary.counts["units without repetitions"] += len(deduplicate(units)[0])

    def tables(self, data: Path, target: Path, summary: Summary) -> list[Path]:
        lines = {
            utterance: " ".join(map(str, deduplicate(units.astype(np.int64))[0]))
            for index in self.indices
            for utterance, units in read_arks(index)
        }
        write_text(target / CONF, self.describe() + self.codebook.describe())
        write_table(target / UNITS, lines)
        return [target / CONF, target / UNITS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_encoder_arguments(parser)
    parser.add_argument("--codebook", type=Path, required=True, metavar="FILE", help="centres of k-means, .npz or .npy")
    args = parser.parse_args()
    run_step(ExtractUnits(args), args)


if __name__ == "__main__":
    run_main(main)
