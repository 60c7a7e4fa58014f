#!/usr/bin/env python3
"""Log-mel spectrograms of a data directory, what EmoAug's synthesis says and a vocoder makes waveforms of.

Example: steps/make_mel.sh --nj 4 --cmd "$train_cmd" --vocoder models/tts-hifigan-libritts-16kHz data/train

Reads audio as steps/make_mfcc.sh does. Silence at both ends is left out: windows of 20 ms that are 35 dB below the
loudest one. What the spectrograms show is what the vocoder's folder states (SpeechBrain's format: hyperparams.yaml,
generator.ckpt), or, without one, what SpeechBrain's HiFi-GAN for 16 kHz does: 80 bands to 8 kHz, every 16 ms. Writes
feats.scp (Kaldi's two-byte compressed matrices), utt2num_frames, utt2dur, frame_shift and conf/mel.conf in <data>;
arks go to <ark-dir> (<data>/data), logs to <log> (<data>/log). Recordings that make_mfcc.sh would drop are dropped as
it does. What is up to date is not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ser.base.errors import run_main
from ser.data.arks import TWO_BYTES, ArkWriter
from ser.features.audio_step import AudioStep
from ser.features.feature_step import Summary, add_arguments, run_step
from ser.features.mel import CONF, LogMel
from ser.nets.vocoder_folder import MelOptions, read_vocoder_folder


class MakeMel(AudioStep):
    name, stem, scp, what, mends_data = "make_mel", "raw_mel", "feats.scp", "mel spectrograms", True
    compress, trim, conf = TWO_BYTES, True, CONF

    def __init__(self, options: MelOptions) -> None:
        self.options, self.rate, self.mel = options, options.sample_rate, LogMel(options)
        self.shift = options.hop_length / options.sample_rate

    def unfit(self, samples: np.ndarray) -> str | None:
        if not samples.any():
            return "is digital silence; remove it from the lists"
        if not self.mel.num_frames(len(samples)):
            return f"has {len(samples) / self.rate:.3f} s of speech, too short; remove it from the lists"
        return None

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        for utterance, samples in self.waveforms(data, summary):
            matrix = self.mel(samples)
            writer.write(utterance, matrix)
            summary.frames[utterance] = len(matrix)

    def describe(self) -> str:
        return self.options.describe()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--vocoder", type=Path, metavar="DIR", help="folder of a HiFi-GAN in SpeechBrain's format")
    args = parser.parse_args()
    run_step(MakeMel(read_vocoder_folder(args.vocoder).mel if args.vocoder else MelOptions()), args)


if __name__ == "__main__":
    run_main(main)
