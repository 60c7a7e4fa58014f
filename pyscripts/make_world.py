#!/usr/bin/env python3
"""WORLD's features of a data directory, which emotional voice conversion reads and writes.

Example: steps/make_world.sh --nj 4 --cmd "$train_cmd" data/train_world

Reads audio as steps/make_mfcc.sh does. Silence at both ends is left out: windows of 20 ms that are 35 dB below the
loudest one. Each frame of 5 ms has 36 mel-cepstral coefficients of the spectral envelope, the logarithm of F0, over ten
wavelet scales and what these leave, whether it is voiced, and the aperiodicity. Writes feats.scp, utt2num_frames,
utt2dur, frame_shift and conf/world.conf in <data>; arks go to <ark-dir> (<data>/data), logs to <log> (<data>/log).
Recordings without a voiced frame are dropped, as those that make_mfcc.sh would drop. What is up to date is not made
again. Needs pyworld (requirements-synthesis.txt).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ser.base.errors import run_main
from ser.data.arks import ArkWriter
from ser.features.audio_step import AudioStep
from ser.features.feature_step import Summary, add_arguments, run_step
from ser.features.world import CONF, DESCRIPTION, RATE, SHIFT, analyse, world

_LEAST_SECONDS = 0.1


class MakeWorld(AudioStep):
    name, stem, scp, what, mends_data = "make_world", "raw_world", "feats.scp", "WORLD features", True
    rate, shift, trim, options, conf = RATE, SHIFT, True, DESCRIPTION, CONF

    def unfit(self, samples: np.ndarray) -> str | None:
        if not samples.any():
            return "is digital silence; remove it from the lists"
        if len(samples) < _LEAST_SECONDS * self.rate:
            return f"has {len(samples) / self.rate:.3f} s of speech, too short; remove it from the lists"
        return None

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        for utterance, samples in self.waveforms(data, summary):
            if (rows := analyse(samples)) is None:
                del summary.seconds[utterance]
                summary.drop(utterance, "has no voiced frame; remove it from the lists")
                continue
            writer.write(utterance, rows)
            summary.frames[utterance] = len(rows)

    def describe(self) -> str:
        return DESCRIPTION


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    args = parser.parse_args()
    world()
    run_step(MakeWorld(), args)


if __name__ == "__main__":
    run_main(main)
