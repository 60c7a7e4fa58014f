"""What the feature steps that read audio have in common: waveforms, perturbed and with noise mixed in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ser.base.errors import SerError
from ser.base.files import file_identity, write_text
from ser.base.kaldi_tables import write_table
from ser.base.progress import progress
from ser.data.audio import AudioError, UtteranceReader, is_pipe, read_utterances
from ser.features.feature_step import FeatureStep, Summary
from ser.features.mel import speech_range
from ser.features.noise import NoiseReader, NoiseSpec, mix, read_utt2noise
from ser.features.perturb import Perturbation, read_utt2perturb

_NAMED_MISSING = 5


class AudioStep(FeatureStep):
    """A step whose features are computed from waveforms of `rate` Hz; `channel` is as in `UtteranceReader`.

    With `trim` the silence before and after an utterance's speech is left out.
    With `fixed_length` a waveform that a speed makes longer ends where it did before. `shift` is how many seconds rows
    of features are apart, `conf` the file of the data directory that says how they were made.
    """

    rate: int
    shift: float
    conf: str
    channel: int = -1
    trim: bool = False
    fixed_length: bool = False

    def unfit(self, samples: np.ndarray) -> str | None:
        """Return why a waveform has no features, for the log; None if it has."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return the text of `conf`."""
        raise NotImplementedError

    def inputs(self, data: Path) -> dict[str, object]:
        utterances, noises = read_utterances(data), _noises(data)
        perturbations = _perturbations(data)
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
            utterance: (source, identities.get(source[0]), noise, identities.get(noise.path) if noise else None,
                        *([str(perturbations.get(utterance))] if perturbations else []))
            for utterance, source in utterances.items()
            for noise in [noises.get(utterance)]
        }

    def waveforms(self, data: Path, summary: Summary) -> Iterator[tuple[str, np.ndarray]]:
        """Yield every utterance that is fit with its samples, float32 at int16 scale, noise and all; drop the others.

        A perturbation comes before noise.
        """
        noises, noise_reader, perturbations = _noises(data), NoiseReader(self.rate), _perturbations(data)
        reader = UtteranceReader(data, self.rate, self.channel)
        for utterance, waveform in progress(reader, len(reader), self.what):
            if isinstance(waveform, AudioError):
                summary.drop(utterance, waveform)
                continue
            samples, seconds = waveform.samples, waveform.seconds
            if perturbations:
                if utterance not in perturbations:
                    raise SerError(f"{data}/utt2perturb: no line for {utterance}; run steps/perturb_data_dir.sh again")
                samples = perturbations[utterance].apply(samples, self.rate)
                seconds = perturbations[utterance].seconds(seconds)
                if self.fixed_length:
                    samples, seconds = samples[: len(waveform.samples)], min(seconds, waveform.seconds)
            if self.trim:
                samples = samples[speech_range(samples, self.rate)]
                seconds = len(samples) / self.rate
            if reason := self.unfit(samples):
                summary.drop(utterance, reason)
                continue
            summary.seconds[utterance] = seconds
            if noises:
                if utterance not in noises:
                    raise SerError(f"{data}/utt2noise: no line for {utterance}; run steps/augment_data_dir.sh again")
                noise = noises[utterance]
                samples = mix(samples, noise_reader.read(noise, len(samples)), noise.snr)
            yield utterance, samples
        summary.counts[f"recordings resampled to {self.rate} Hz"] = reader.resampled
        summary.counts["recordings mixed down to mono"] = reader.mixed_down

    def tables(self, data: Path, target: Path, summary: Summary) -> list[Path]:
        write_table(target / "utt2dur", {utterance: f"{value:.6g}" for utterance, value in summary.seconds.items()})
        write_text(target / "frame_shift", f"{self.shift:g}\n")
        write_text(target / self.conf, self.describe())
        write_table(target / "utt2num_frames", summary.frames)
        return [target / name for name in ("utt2num_frames", "frame_shift", self.conf)]


def _perturbations(data: Path) -> dict[str, Perturbation]:
    return read_utt2perturb(data / "utt2perturb") if (data / "utt2perturb").exists() else {}


def _noises(data: Path) -> dict[str, NoiseSpec]:
    return read_utt2noise(data / "utt2noise") if (data / "utt2noise").exists() else {}
