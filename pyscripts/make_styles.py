#!/usr/bin/env python3
"""What a speaker encoder reads of each utterance, from which EmoAug's network takes its style.

Example: steps/make_styles.sh --nj 4 --cmd "$train_cmd" --speaker-encoder models/spkrec-ecapa-voxceleb data/train

The folder holds ECAPA-TDNN in SpeechBrain's format (hyperparams.yaml, embedding_model.ckpt; SpeechBrain must be
installed), or a GE2E encoder (model.safetensors with lstm.* and linear.*). Reads audio as steps/make_mel.sh does, at 16
kHz, without the silence at both ends. Writes styles.scp and conf/styles.conf, which names the encoder by hash, in
<data>; arks go to <ark-dir> (<data>/data), logs to <log> (<data>/log). A matrix has filter banks (ECAPA-TDNN) or mel
bands' power (GE2E) every 10 ms, and in its last column the utterance's level: the natural logarithm of the root mean
square of its speech's samples at 16 bits, by which anger is told from sadness and to which speaker encoders are deaf.
Other tables stay. What is up to date is not made again. The encoder itself is applied, and trained, with the network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ser.base.errors import run_main
from ser.base.files import file_identity, write_text
from ser.data.arks import ArkWriter
from ser.features.audio_step import AudioStep
from ser.features.feature_step import Summary, add_arguments, run_step
from ser.nets.speaker_folder import RATE, describe, speaker_files


class MakeStyles(AudioStep):
    name, stem, scp, what, mends_data = "make_styles", "styles", "styles.scp", "what styles are heard in", True
    rate, trim = RATE, True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = ["with the level", *map(file_identity, speaker_files(folder)[1])]

    def unfit(self, samples: np.ndarray) -> str | None:
        if len(samples) >= 0.1 * self.rate and samples.any():
            return None
        return "has under 0.1 s of speech; remove it from the lists"

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        import torch

        from ser.nets.speaker import SpeakerReader

        read = SpeakerReader(self.folder)
        with torch.inference_mode():
            for utterance, samples in self.waveforms(data, summary):
                frames = read(torch.from_numpy(np.ascontiguousarray(samples)))
                level = 0.5 * np.log(np.square(samples, dtype=np.float64).mean())
                writer.write(utterance, np.pad(frames.numpy(), ((0, 0), (0, 1)), constant_values=level))
                summary.frames[utterance] = len(frames)

    def tables(self, data: Path, target: Path, summary: Summary) -> list[Path]:
        write_text(target / "conf" / "styles.conf", describe(self.folder) + "--level=rms\n")
        return [target / "conf" / "styles.conf"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--speaker-encoder", type=Path, required=True, metavar="DIR", help="folder of its weights")
    args = parser.parse_args()
    run_step(MakeStyles(args.speaker_encoder.resolve()), args)


if __name__ == "__main__":
    run_main(main)
