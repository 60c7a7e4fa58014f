#!/usr/bin/env python3
"""Waveforms of a data directory, samples of 16 bits at 16 kHz, as the features of encoders that are fine-tuned.

Example: steps/make_waveforms.sh --nj 4 --cmd "$train_cmd" data/train_wav

Reads wav.scp, segments, utt2perturb and utt2noise as steps/make_mfcc.sh does, at any rate. Writes feats.scp (Kaldi's
compressed matrices of two-byte whole numbers, which lose nothing; a row is a sample), utt2num_frames, utt2dur,
frame_shift and conf/waveforms.conf in <data>; arks go to <ark-dir> (<data>/data), logs to <log> (<data>/log). Samples
that a noise or a perturbation makes too loud for 16 bits are cut off and counted.

A recording that make_mfcc.sh would drop, one under 25 ms and one over --longest are dropped: named in the log, listed
in <log>/make_waveforms_<name>.dropped and taken out of <data>'s tables (which are kept in <data>/.backup); above a
share of --max-drop that is an error, and <data> stays as it is. What is up to date is not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ser.base.errors import run_main
from ser.data.arks import ArkWriter
from ser.features.audio_step import AudioStep
from ser.features.feature_step import Summary, add_arguments, run_step
from ser.features.waveforms import FRONT_END, as_int16, unfit
from ser.nets.encoder_folder import LONGEST, RATE


class MakeWaveforms(AudioStep):
    name, stem, scp, what, mends_data = "make_waveforms", "raw_waveforms", "feats.scp", "waveforms", True
    rate, shift, conf = RATE, 1 / RATE, "conf/waveforms.conf"

    def __init__(self, longest: float) -> None:
        self.longest = longest
        self.options = [longest]

    def unfit(self, samples: np.ndarray) -> str | None:
        return unfit(samples, self.longest)

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        for utterance, samples in self.waveforms(data, summary):
            writer.write(utterance, as_int16(samples))
            summary.frames[utterance] = len(samples)
            summary.counts["samples cut off"] += int((np.abs(samples) > 32768).sum())

    def describe(self) -> str:
        return FRONT_END


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument(
        "--longest",
        type=float,
        default=LONGEST,
        metavar="SECONDS",
        help="that the encoder takes (default: %(default)s)",
    )
    args = parser.parse_args()
    if not args.longest > 0:
        parser.error(f"--longest {args.longest} is no number of seconds")
    run_step(MakeWaveforms(args.longest), args)


if __name__ == "__main__":
    run_main(main)
