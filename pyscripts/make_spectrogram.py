#!/usr/bin/env python3
"""Spectrogram images of a data directory of short blocks (utils/subsegment_data_dir.sh), as bytes of a colour map.

Example: steps/make_spectrogram.sh --nj 4 --cmd "$train_cmd" data/train_1s data/train_1s_spec

Reads wav.scp, segments, utt2noise, whose noise is mixed in at its SNR over the block, and utt2perturb, of whose
slower blocks the beginning is shown; then a block is divided by its largest magnitude. Writes the tables of <data>,
feats.scp, utt2num_frames and conf/spectrogram.conf in <out-data>; arks go to <ark-dir> (<out-data>/data), logs to <log>
(<out-data>/log). The matrices are Kaldi's of one byte a value (CM3): palette indices, a column of the image in each
row, from its top down.

A block that is too short ends in silence, and digital silence is one colour; both are counted. One that is longer than
an image, or no audio, is dropped: named in the log, listed in <log>/make_spectrogram_<name>.dropped; above a share of
--max-drop that is an error. What is up to date is not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ser.base.errors import run_main
from ser.base.files import write_text
from ser.base.kaldi_tables import write_table
from ser.data import rearrange
from ser.data.arks import ArkWriter
from ser.features.audio_step import AudioStep
from ser.features.feature_step import Summary, add_arguments, run_step
from ser.features.frontend import read_conf
from ser.features.spectrogram import Spectrogram, SpectrogramOptions

_CONF = Path(__file__).resolve().parent.parent / "conf"


class MakeSpectrogram(AudioStep):
    name, stem, scp, what = "make_spectrogram", "images", "feats.scp", "spectrogram images"
    own_target = True
    fixed_length = True

    def __init__(self, config: Path) -> None:
        self.config = config
        self.options = read_conf(config, SpectrogramOptions)
        self.rate = self.options.rate

    def inputs(self, data: Path) -> dict[str, object]:
        # Labels and speakers are copied to the images' directory, so that it changes with them.
        lists = {name: (data / name).read_text() for name in ("utt2spk", "utt2emo") if (data / name).exists()}
        return {**super().inputs(data), "": lists}

    def unfit(self, samples: np.ndarray) -> str | None:
        if len(samples) <= self.options.samples + 1:  # times of segments are rounded
            return None
        return (f"{len(samples) / self.rate:.3f} s long, and an image shows {self.options.block_length:g} s; cut it "
                "(utils/subsegment_data_dir.sh)")

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        spectrogram, length = Spectrogram(self.options), self.options.samples
        for utterance, samples in self.waveforms(data, summary):
            image = spectrogram(samples[:length])
            writer.write(utterance, image)
            summary.frames[utterance] = len(image)
            summary.counts["blocks of digital silence"] += not samples.any()
            summary.counts["blocks too short, which end in silence"] += len(samples) < length - 1

    def tables(self, data: Path, target: Path, summary: Summary) -> list[Path]:
        rearrange.subset(data, target, summary.frames)
        write_text(target / "conf" / "spectrogram.conf", self.config.read_text())
        write_table(target / "utt2num_frames", summary.frames)
        return [target / name for name in ("utt2spk", "utt2num_frames", "conf/spectrogram.conf")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, target=True)
    parser.add_argument("--spectrogram-config", type=Path, default=_CONF / "spectrogram.conf", metavar="FILE",
                        help="what the images show (default: conf/spectrogram.conf)")
    args = parser.parse_args()
    run_step(MakeSpectrogram(args.spectrogram_config), args)


if __name__ == "__main__":
    run_main(main)
