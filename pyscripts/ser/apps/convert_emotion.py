"""Converting neutral utterances to other emotions: WORLD's features by a network, and speech of these."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from ser.apps.convert import is_usable, sound_fault
from ser.apps.converted import Outcome
from ser.augment.emotion_copies import EmotionCopy
from ser.base.files import atomic_path
from ser.data.arks import read_arks
from ser.features.world import RATE, synthesise
from ser.nets.conversion import Converter

_LOUDEST = 0.99  # of a recording, whose greatest possible is 1


@dataclass
class EmotionConverter:
    """A network and what it works on; nothing here is drawn at random.

    Attributes:
        network: in evaluation mode.
        emotions: its classes.
        feats: index of the utterances' features.
        reject: whether copies with a fault are given up.
        device: where the network is.
    """

    network: Converter
    emotions: Sequence[str]
    feats: Path
    reject: bool
    device: torch.device

    def convert(self, copies: Sequence[EmotionCopy], folder: Path) -> tuple[list[Outcome], dict[str, float]]:
        """Write <folder>/<name>.wav of each copy that is good, 16 bits at 16 kHz, softer where it would not fit.

        Returns:
            What became of each, its `ref` being its emotion, and the seconds that the network and WORLD took.
        """
        wanted = {copy.utterance for copy in copies}
        rows = {utterance: torch.from_numpy(np.array(matrix)) for utterance, matrix in read_arks(self.feats)
                if utterance in wanted}
        outcomes, spent = [], {"network": 0.0, "vocoder": 0.0}
        for copy in copies:
            begun = time.perf_counter()
            target = self.emotions.index(copy.emotion)
            made = self.network.convert(rows[copy.utterance].to(self.device), target).cpu().numpy()
            half = time.perf_counter()
            samples = synthesise(made)
            spent["network"] += half - begun
            spent["vocoder"] += time.perf_counter() - half
            outcome, fault = Outcome(copy.name, copy.utterance), sound_fault(samples)
            outcomes.append(outcome)
            if fault:
                outcome.faults.append((copy.emotion, fault))
            if (fault and self.reject) or not is_usable(samples, RATE):
                continue
            samples = samples * min(1.0, _LOUDEST / max(np.abs(samples).max(), 1e-9))
            with atomic_path(folder / f"{copy.name}.wav") as temporary:
                soundfile.write(temporary, samples, RATE, subtype="PCM_16", format="WAV")
            outcome.ref, outcome.seconds = copy.emotion, len(samples) / RATE
        return outcomes, spent
