#!/usr/bin/env python3
"""MFCC of a data directory, Kaldi's numbers, one job at a time; steps/make_mfcc.sh runs the whole.

Reads wav.scp (files of any rate that libsndfile reads, Kaldi pipes), segments and utt2noise, whose noise it mixes in
before it computes features. Writes feats.scp, utt2num_frames, utt2dur, frame_shift and conf/mfcc.conf.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from ser.base.errors import SerError, run_main
from ser.base.files import file_identity, write_text
from ser.base.kaldi_tables import write_table
from ser.base.progress import progress
from ser.data.arks import ArkWriter
from ser.data.audio import AudioError, UtteranceReader, Waveform, is_pipe, read_utterances
from ser.features.feature_step import FeatureStep, Summary, add_arguments, add_compress, run_verb
from ser.features.frontend import MfccOptions, mfcc, read_conf
from ser.features.noise import NoiseReader, NoiseSpec, mix, read_utt2noise

_BATCH_SECONDS = 120.0  # audio in one call of `mfcc`: bounds memory, and is enough to make its fixed costs small
_NAMED_MISSING = 5


class MakeMfcc(FeatureStep):
    name, stem, scp, what, mends_data = "make_mfcc", "raw_mfcc", "feats.scp", "MFCC", True

    def __init__(self, config: Path, seed: int, compress: bool = False) -> None:
        self.config, self.seed, self.compress = config, seed, compress
        self.mfcc = read_conf(config, MfccOptions)
        self.options = (self.mfcc, seed if self.mfcc.dither else None)

    def inputs(self, data: Path) -> dict[str, object]:
        utterances, noises = read_utterances(data), _noises(data)
        files = {rxfile for rxfile, *_ in utterances.values() if not is_pipe(rxfile)}
        files |= {noise.path for noise in noises.values()}
        missing = sorted(path for path in files if not os.path.exists(path))
        if missing:
            named = "".join(f"\n  {path}" for path in missing[:_NAMED_MISSING])
            more = f"\n  … and {len(missing) - _NAMED_MISSING} more" if len(missing) > _NAMED_MISSING else ""
            raise SerError(
                f"{data}: {len(missing)} of {len(files)} audio files are missing; restore them (is the disk mounted?), "
                f"or remove their lines from wav.scp and run utils/fix_data_dir.sh {data}:{named}{more}"
            )
        identities = {path: file_identity(path) for path in files}
        return {
            utterance: (source, identities.get(source[0]), noise, identities.get(noise.path) if noise else None)
            for utterance, source in utterances.items()
            for noise in [noises.get(utterance)]
        }

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        rate, noises = self.mfcc.rate, _noises(data)
        reader, noise_reader = UtteranceReader(data, rate, self.mfcc.channel), NoiseReader(rate)
        batch: dict[str, np.ndarray] = {}
        for utterance, waveform in progress(reader, len(reader), "MFCC"):
            samples = self._usable(utterance, waveform, summary)
            if samples is None:
                continue
            if noises:
                if utterance not in noises:
                    raise SerError(f"{data}/utt2noise: no line for {utterance}; run steps/augment_data_dir.sh again")
                noise = noises[utterance]
                samples = mix(samples, noise_reader.read(noise, len(samples)), noise.snr)
            batch[utterance] = samples
            if sum(map(len, batch.values())) >= _BATCH_SECONDS * rate:
                self._flush(batch, writer, summary)
        self._flush(batch, writer, summary)
        summary.counts[f"recordings resampled to {rate} Hz"] = reader.resampled
        summary.counts["recordings mixed down to mono"] = reader.mixed_down

    def _usable(self, utterance: str, waveform: Waveform | AudioError, summary: Summary) -> np.ndarray | None:
        """Return the samples of an utterance and note its length; drop one that has none or too few, return None."""
        if isinstance(waveform, AudioError):
            summary.drop(utterance, waveform)
            return None
        if self.mfcc.num_frames(len(waveform.samples)) == 0:
            least = max(self.mfcc.frame_length / 1000, self.mfcc.min_duration)
            summary.drop(utterance, f"{waveform.seconds:.3f} s long, under {least:g} s; remove it from the lists")
            return None
        summary.seconds[utterance] = waveform.seconds
        return waveform.samples

    def _flush(self, batch: dict[str, np.ndarray], writer: ArkWriter, summary: Summary) -> None:
        """Compute and write the features of a batch of utterances, and empty it."""
        keys = [f"{self.seed} {utterance} dither" for utterance in batch]
        for utterance, matrix in zip(batch, mfcc(list(batch.values()), self.mfcc, keys), strict=True):
            writer.write(utterance, matrix)
            summary.frames[utterance] = len(matrix)
        batch.clear()

    def tables(self, data: Path, target: Path, summary: Summary) -> list[Path]:
        write_table(target / "utt2dur", {utterance: f"{value:.6g}" for utterance, value in summary.seconds.items()})
        write_text(target / "frame_shift", f"{self.mfcc.frame_shift / 1000:g}\n")
        write_text(target / "conf" / "mfcc.conf", self.config.read_text())
        write_table(target / "utt2num_frames", summary.frames)
        return [target / name for name in ("utt2num_frames", "frame_shift", "conf/mfcc.conf")]


def _noises(data: Path) -> dict[str, NoiseSpec]:
    return read_utt2noise(data / "utt2noise") if (data / "utt2noise").exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--mfcc-config", type=Path, required=True, help="Kaldi option file of compute-mfcc-feats")
    parser.add_argument("--seed", type=int, default=0, help="seed of the dither, where the config asks for it")
    add_compress(parser)
    args = parser.parse_args()
    run_verb(MakeMfcc(args.mfcc_config, args.seed, args.compress == "true"), args)


if __name__ == "__main__":
    run_main(main)
