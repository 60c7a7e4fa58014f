#!/usr/bin/env python3
"""Hidden states of a pretrained speech encoder as the features of a data directory.

Example: steps/make_encoder_feats.sh --nj 4 --cmd "$train_cmd" --encoder models/hubert-base --layer 6 data/train_hubert

The folder is one that transformers' AutoModel reads as HuBERT, WavLM, wav2vec 2.0, data2vec-audio or Whisper (its
encoder, on the utterance as it is, not padded to 30 s), with the preprocessor_config.json that says how its input is
normalised. Reads wav.scp, segments and utt2noise as steps/make_mfcc.sh does, at 16 kHz. Writes feats.scp (Kaldi's
two-byte compressed matrices), utt2num_frames, utt2dur, frame_shift and conf/encoder.conf in <data>; arks go to
<ark-dir> (<data>/data), logs to <log> (<data>/log). What an utterance gets depends on no other.

A recording that make_mfcc.sh would drop, one too short for a frame (25 ms) and one that is longer than the encoder
takes (Whisper: 30 s; others: 60 s) are dropped: named in the log, listed in <log>/make_encoder_feats_<name>.dropped
and taken out of <data>'s tables (which are kept in <data>/.backup); above a share of --max-drop that is an error, and
<data> stays as it is. What is up to date is not made again. A GPU is used where the job sees one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.base.errors import run_main
from ser.data.arks import TWO_BYTES, ArkWriter
from ser.features.encoder_step import EncoderStep, add_encoder_arguments
from ser.features.feature_step import Summary, run_step
from ser.features.hidden_states import FRAME_SHIFT


class MakeEncoderFeats(EncoderStep):
    name, stem, scp, what = "make_encoder_feats", "raw_encoder", "feats.scp", "hidden states"
    compress, shift, conf = TWO_BYTES, FRAME_SHIFT, "conf/encoder.conf"

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        for utterance, states in self.states(data, summary):
            writer.write(utterance, states)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_encoder_arguments(parser)
    args = parser.parse_args()
    run_step(MakeEncoderFeats(args), args)


if __name__ == "__main__":
    run_main(main)
