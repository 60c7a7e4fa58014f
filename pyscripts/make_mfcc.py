#!/usr/bin/env python3
"""MFCC features of a data directory, Kaldi's numbers.

Example: steps/make_mfcc.sh --nj 4 --cmd "$train_cmd" data/train

Reads wav.scp (any rate and format that libsndfile reads, or Kaldi pipes ending in |), segments, and utt2noise, whose
noise is mixed in on the way. Recordings of another rate are resampled, several channels averaged, both counted; a
recording is decoded once for consecutive segments or noisy copies of it. Writes feats.scp, utt2num_frames, utt2dur,
frame_shift and conf/mfcc.conf in <data>; arks go to <ark-dir> (<data>/data), logs to <log> (<data>/log).

A missing file is an error. A recording that is empty, truncated, no audio, shorter than a frame, or has NaN samples
is dropped: named in the log, listed in <log>/make_mfcc_<name>.dropped and taken out of <data>'s tables (which are
kept in <data>/.backup); above a share of --max-drop that is an error too, and <data> stays as it is.
What is up to date is not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ser.base.errors import run_main
from ser.data.arks import ArkWriter
from ser.features.audio_step import AudioStep
from ser.features.feature_step import Summary, add_arguments, run_step
from ser.features.frontend import MfccOptions, mfcc, read_conf

_CONF = Path(__file__).resolve().parent.parent / "conf"
_BATCH_SECONDS = 120.0  # audio in one call of `mfcc`: bounds memory, and is enough to make its fixed costs small


class MakeMfcc(AudioStep):
    name, stem, scp, what, mends_data = "make_mfcc", "raw_mfcc", "feats.scp", "MFCC", True
    conf = "conf/mfcc.conf"

    def __init__(self, config: Path, seed: int, compress: bool = False) -> None:
        self.config, self.seed, self.compress = config, seed, compress
        self.mfcc = read_conf(config, MfccOptions)
        self.rate, self.channel, self.shift = self.mfcc.rate, self.mfcc.channel, self.mfcc.frame_shift / 1000
        self.options = (self.mfcc, seed if self.mfcc.dither else None)

    def unfit(self, samples: np.ndarray) -> str | None:
        if self.mfcc.num_frames(len(samples)):
            return None
        least = max(self.mfcc.frame_length / 1000, self.mfcc.min_duration)
        return f"{len(samples) / self.rate:.3f} s long, under {least:g} s; remove it from the lists"

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        batch: dict[str, np.ndarray] = {}
        for utterance, samples in self.waveforms(data, summary):
            batch[utterance] = samples
            if sum(map(len, batch.values())) >= _BATCH_SECONDS * self.rate:
                self._flush(batch, writer, summary)
        self._flush(batch, writer, summary)

    def _flush(self, batch: dict[str, np.ndarray], writer: ArkWriter, summary: Summary) -> None:
        """Compute and write the features of a batch of utterances, and empty it."""
        keys = [f"{self.seed} {utterance} dither" for utterance in batch]
        for utterance, matrix in zip(batch, mfcc(list(batch.values()), self.mfcc, keys), strict=True):
            writer.write(utterance, matrix)
            summary.frames[utterance] = len(matrix)
        batch.clear()

    def describe(self) -> str:
        return self.config.read_text()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--mfcc-config", type=Path, default=_CONF / "mfcc_8k.conf", metavar="FILE",
                        help="options of Kaldi's compute-mfcc-feats (default: conf/mfcc_8k.conf)")
    parser.add_argument("--seed", type=int, default=0, metavar="N",
                        help="of the dither, where the configuration asks for it (default: 0)")
    parser.add_argument("--compress", choices=("true", "false"), default="false",
                        help="write Kaldi's compressed matrices, a quarter of the size: 256 levels for each "
                        "coefficient between its extremes in the utterance (default: false)")
    args = parser.parse_args()
    run_step(MakeMfcc(args.mfcc_config, args.seed, args.compress == "true"), args)


if __name__ == "__main__":
    run_main(main)
