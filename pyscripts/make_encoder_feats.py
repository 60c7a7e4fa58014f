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
from ser.nets.encoder_folder import RATE, read_encoder_folder

_READ_SECONDS = 480  # of audio in memory, among which batches of like lengths are found
_BATCH_SECONDS = {"cpu": 16, "cuda": 240}  # of audio, padding included, in one forward pass
_FRAME_SHIFT = "0.02"  # s, of every encoder of `KINDS`


class MakeEncoderFeats(AudioStep):
    name, stem, scp, what, mends_data = "make_encoder_feats", "raw_encoder", "feats.scp", "hidden states", True
    compress, rate = TWO_BYTES, RATE

    def __init__(self, encoder: Path, layer: int | None, precision: str) -> None:
        self.folder, self.precision = read_encoder_folder(encoder), precision
        self.layer = self.folder.layer(layer)
        self.options = [*map(file_identity, self.folder.files), self.layer, precision]

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        import torch

        from ser.nets.encoder import load_encoder

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.encoder = load_encoder(self.folder.path, self.layer).to(self.device)
        batch: dict[str, np.ndarray] = {}
        for utterance, samples in self.waveforms(data, summary):
            batch[utterance] = samples
            if sum(map(len, batch.values())) >= _READ_SECONDS * RATE:
                self._flush(batch, writer, summary)
        self._flush(batch, writer, summary)

    def unfit(self, samples: np.ndarray) -> str | None:
        seconds, longest = len(samples) / RATE, self.encoder.longest
        if self.encoder.num_frames(len(samples)) < 1:
            return f"{seconds:.3f} s long, too short; remove it from the lists"
        if len(samples) > longest:
            return f"{seconds:.1f} s long, over the {longest / RATE:g} s of the encoder; cut it up (segments)"
        return None

    def _flush(self, waveforms: dict[str, np.ndarray], writer: ArkWriter, summary: Summary) -> None:
        """Encode these utterances in batches of like lengths, write them in their order, and empty the dictionary."""
        encoded: dict[str, np.ndarray] = {}
        batch: list[str] = []
        most = _BATCH_SECONDS[self.device.type] * RATE
        for utterance in sorted(waveforms, key=lambda utterance: len(waveforms[utterance])):
            if batch and (len(batch) + 1) * len(waveforms[utterance]) > most:
                encoded |= self._encode(batch, waveforms)
                batch = []
            batch.append(utterance)
        if batch:
            encoded |= self._encode(batch, waveforms)
        for utterance in waveforms:
            writer.write(utterance, encoded[utterance])
            summary.frames[utterance] = len(encoded[utterance])
        waveforms.clear()

    def _encode(self, batch: list[str], waveforms: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        import torch

        samples = torch.from_numpy(np.concatenate([waveforms[utterance] for utterance in batch])).to(self.device)
        lengths = torch.tensor([len(waveforms[utterance]) for utterance in batch])
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            states, frames = self.encoder(samples, lengths)
        return dict(zip(batch, np.split(states.cpu().numpy(), frames.cumsum(0)[:-1]), strict=True))

    def tables(self, data: Path, target: Path, summary: Summary) -> list[Path]:
        write_table(target / "utt2dur", {utterance: f"{value:.6g}" for utterance, value in summary.seconds.items()})
        write_text(target / "frame_shift", f"{_FRAME_SHIFT}\n")
        write_text(target / "conf" / "encoder.conf", f"--encoder={self.folder.kind}-{self.folder.digest()}\n"
                   f"--layer={self.layer}\n--precision={self.precision}\n")
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
