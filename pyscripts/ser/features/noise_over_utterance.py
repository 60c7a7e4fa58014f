"""Noise that runs through an utterance under all of its blocks, at an SNR over the whole utterance.

`utt2noise` has an SNR for each block, and blocks are mixed one by one. So each block gets the noise from where it
begins, and the SNR that it has there: mixed so, all blocks of an utterance have noise of one gain, that of
`ser.features.noise` over the utterance.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ser.base.errors import SerError
from ser.base.progress import progress
from ser.data.audio import AudioError, UtteranceReader
from ser.data.segments import start_of, utterance_of
from ser.features.noise import NoiseReader, NoiseSpec, first_sound, noise_header

RATE = 16000  # Hz, at which powers are taken
_INAUDIBLE = 120.0  # dB, of a block under which the noise is silent


def spread_over_blocks(
    data: str | os.PathLike[str], whole: Sequence[str | os.PathLike[str]], drawn: Mapping[str, Mapping[str, NoiseSpec]]
) -> dict[str, NoiseSpec]:
    """Return the noise of every copy of every block.

    Digital silence stays without noise. A block under which the noise is silent gets the file's next sound, at 120 dB.

    Args:
        data: data directory of blocks (utils/subsegment_data_dir.sh).
        whole: data directories with the utterances that the blocks are of.
        drawn: of each utterance that has blocks, the noise of its copies, by the suffix of their ids.

    Raises:
        SerError: a table or a noise file is missing or damaged.
    """
    noise, gains = NoiseReader(RATE), {}
    for folder in whole:
        reader = UtteranceReader(Path(folder), RATE)
        for utterance, waveform in progress(reader, len(reader), "SNR over utterances"):
            if utterance not in drawn or utterance in gains:
                continue
            gains[utterance] = dict.fromkeys(drawn[utterance], 1.0)  # of one that cannot be read, which has no features
            if not isinstance(waveform, AudioError):
                for suffix, spec in drawn[utterance].items():
                    ratio = _ratio(waveform.samples, noise.read(spec, len(waveform.samples)))
                    gains[utterance][suffix] = ratio * 10 ** (-spec.snr / 10)
    found, reader = {}, UtteranceReader(Path(data), RATE)
    for block, waveform in progress(reader, len(reader), "SNR of blocks"):
        utterance = utterance_of(block)
        for suffix, spec in drawn[utterance].items():
            frames, rate = noise_header(spec.path)
            spec = replace(spec, first_sample=(spec.first_sample + round(start_of(block) * rate)) % frames)
            if not isinstance(waveform, AudioError):
                spec = _of_block(spec, waveform.samples, gains[utterance][suffix], noise)
            found[block + suffix] = spec
    return found


def _of_block(spec: NoiseSpec, speech: np.ndarray, gain: float, reader: NoiseReader) -> NoiseSpec:
    """Return a block's noise with its SNR, for a gain of the noise's power."""
    try:
        ratio = _ratio(speech, reader.read(spec, len(speech)))
    except SerError:
        sound = first_sound(spec.path, spec.first_sample)
        return replace(spec, first_sample=sound, snr=_INAUDIBLE)
    if not ratio * gain:
        return spec  # digital silence
    return replace(spec, snr=10 * math.log10(ratio / gain))


def _ratio(speech: np.ndarray, noise: np.ndarray) -> float:
    """Return the energy of speech over that of noise."""
    speech, noise = speech.astype(float), noise.astype(float)
    return float(speech @ speech / (noise @ noise))
