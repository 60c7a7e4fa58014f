#!/usr/bin/env python3
"""Spectrogram images of a data directory of short blocks, one job at a time; steps/make_spectrogram.sh runs the whole.

Reads wav.scp, segments and utt2noise, whose noise it mixes in before it divides by the largest magnitude. Writes
another data directory with the tables of this one, feats.scp (one-byte matrices of palette indices) and
conf/spectrogram.conf.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ser.base.errors import SerError, run_main
from ser.base.files import write_text
from ser.base.kaldi_tables import write_table
from ser.data import rearrange
from ser.data.arks import ArkWriter
from ser.features.audio_step import AudioStep
from ser.features.feature_step import Summary, add_arguments, run_verb
from ser.features.frontend import read_conf
from ser.features.spectrogram import Spectrogram, SpectrogramOptions


class MakeSpectrogram(AudioStep):
    name, stem, scp, what = "make_spectrogram", "images", "feats.scp", "spectrogram images"

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
    add_arguments(parser)
    parser.add_argument("--spectrogram-config", type=Path, required=True, help="option file, conf/spectrogram.conf")
    args = parser.parse_args()
    if args.target is None or args.target.resolve() == args.data.resolve():
        raise SerError(f"{args.data}: the images need a directory of their own")
    run_verb(MakeSpectrogram(args.spectrogram_config), args)


if __name__ == "__main__":
    run_main(main)
