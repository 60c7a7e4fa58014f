#!/usr/bin/env python3
"""Hidden states of a pretrained encoder as features, one job at a time; steps/make_encoder_feats.sh runs the whole.

Reads wav.scp, segments and utt2noise as make_mfcc.py does. Writes feats.scp, utt2num_frames, utt2dur, frame_shift and
conf/encoder.conf.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ser.base.errors import SerError, run_main
from ser.base.files import file_identity, write_text
from ser.base.kaldi_tables import write_table
from ser.data.arks import TWO_BYTES, ArkWriter
from ser.features.audio_step import AudioStep
from ser.features.feature_step import Summary, add_arguments, run_verb
from ser.features.hidden_states import FRAME_SHIFT, HiddenStates, describe
from ser.nets.encoder_folder import RATE, read_encoder_folder


class MakeEncoderFeats(AudioStep):
    name, stem, scp, what, mends_data = "make_encoder_feats", "raw_encoder", "feats.scp", "hidden states", True
    compress, rate = TWO_BYTES, RATE

    def __init__(self, encoder: Path, layer: int | None, precision: str) -> None:
        self.folder, self.precision = read_encoder_folder(encoder), precision
        self.layer = self.folder.layer(layer)
        self.options = [*map(file_identity, self.folder.files), self.layer, precision]

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        import torch

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.front_end = HiddenStates(self.folder, self.layer, self.precision, device)
        for utterance, states in self.front_end.of(self.waveforms(data, summary)):
            writer.write(utterance, states)
            summary.frames[utterance] = len(states)

    def unfit(self, samples: np.ndarray) -> str | None:
        return self.front_end.unfit(samples)

    def tables(self, data: Path, target: Path, summary: Summary) -> list[Path]:
        write_table(target / "utt2dur", {utterance: f"{value:.6g}" for utterance, value in summary.seconds.items()})
        write_text(target / "frame_shift", f"{FRAME_SHIFT}\n")
        write_text(target / "conf" / "encoder.conf", describe(self.folder, self.layer, self.precision))
        write_table(target / "utt2num_frames", summary.frames)
        return [target / name for name in ("utt2num_frames", "frame_shift", "conf/encoder.conf")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--encoder", type=Path, required=True, help="folder that transformers' AutoModel reads")
    parser.add_argument("--layer", type=int, help="whose hidden states are taken, from 1 (default: the last)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="(default: %(default)s)")
    args = parser.parse_args()
    if args.target and args.target.resolve() != args.data.resolve():
        raise SerError(f"{args.target}: hidden states go into the data directory that was read")
    run_verb(MakeEncoderFeats(args.encoder, args.layer, args.precision), args)


if __name__ == "__main__":
    run_main(main)
