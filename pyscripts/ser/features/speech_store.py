"""What synthesis is trained on: of each utterance its units, its mel spectrogram and its style vector.

A data directory has the spectrograms in feats.scp, the units in units.txt, and in styles.scp of each utterance a matrix
of one row, what a speaker encoder makes of it; conf/ says how each was made.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ser.augment.copypaste import BatchPlan
from ser.base.errors import SerError
from ser.base.files import fingerprint
from ser.base.kaldi_tables import read_table
from ser.data.arks import ark_identities, read_arks
from ser.features.directories import features_digest, front_end
from ser.features.store import FeatureStore
from ser.features.units import CONF, UNITS, num_units, read_units

STYLES = "styles.scp"
MADE_BY = ("conf/mel.conf", CONF, "conf/styles.conf")


class Speech(NamedTuple):
    """A batch: what `ser.nets.synthesis.Synthesiser` takes, in its order.

    Attributes:
        units: (B, U), 0 beyond an utterance's end.
        unit_lengths: (B,) on the CPU.
        mels: (B, T, bands), 0 beyond an utterance's end.
        mel_lengths: (B,) on the CPU.
        styles: (B, style).
    """

    units: Tensor
    unit_lengths: Tensor
    mels: Tensor
    mel_lengths: Tensor
    styles: Tensor


class SpeechStore:
    """Utterances of data directories to train synthesis on.

    Attributes:
        utterances, lengths, device, digest: as of `FeatureStore`; lengths are frames of the spectrograms.
        dim: bands of a spectrogram, and the size of a style vector.
        num_units: how many units the codebook has.
    """

    BATCH_ROWS: ClassVar = {"cuda": 50_000, "cpu": 8_000}

    def __init__(self, mels: FeatureStore, units: Sequence[np.ndarray], styles: np.ndarray, num_units: int) -> None:
        """`units` has (m,) integers of each utterance, `styles` is (N, style)."""
        self._mels, self.num_units = mels, num_units
        self.utterances, self.lengths, self.device = mels.utterances, mels.lengths, mels.device
        self.units = [torch.from_numpy(each) for each in units]
        self.styles = torch.from_numpy(np.ascontiguousarray(styles, np.float32)).to(mels.device)
        self.dim = (mels.dim, styles.shape[1])
        self.digest = fingerprint(mels.digest, np.concatenate(units).tobytes(), styles.tobytes())

    @classmethod
    def load(cls, data: Sequence[str | os.PathLike[str]], device: torch.device) -> SpeechStore:
        """Read data directories.

        Raises:
            SerError: something is missing, damaged, or made by other options than the rest.
        """
        mels = FeatureStore.load(data, device)
        units, description = read_units(data, mels.utterances)
        return cls(mels, list(units.values()), read_styles(data, mels.utterances), num_units(description))

    def means(self) -> Tensor:
        """Return the mean spectrum, (bands,), of all frames."""
        return self._mels.means()

    def batch(self, plan: BatchPlan) -> Speech:
        """Return the utterances of a plan, which takes them whole."""
        return self.whole(plan.utterances[:, 0])

    def whole(self, indices: np.ndarray) -> Speech:
        """Return whole utterances as a batch."""
        rows, lengths = self._mels.whole(indices)
        units = [self.units[index] for index in indices]
        return Speech(
            pad_sequence(units, batch_first=True).to(self.device, non_blocking=True),
            torch.tensor([len(each) for each in units]),
            pad_sequence(rows.split(lengths.tolist()), batch_first=True),
            lengths,
            self.styles[torch.from_numpy(indices).to(self.device)],
        )


def made_by(data: Sequence[str | os.PathLike[str]]) -> str:
    """Return the options that made spectrograms, units and styles of all of the data, as lines.

    Raises:
        SerError: they differ from one directory to another.
    """
    return front_end(data, MADE_BY)


def speech_digest(data: Sequence[str | os.PathLike[str]]) -> str:
    """Return a hash that changes whenever spectrograms, units or styles do, without reading them.

    Raises:
        SerError: a table or an ark is missing.
    """
    indices = [Path(folder) / STYLES for folder in data]
    arks = [sorted(set(ark_identities(index, read_table(index)).values())) for index in indices]
    return fingerprint(features_digest(data), *indices, *(Path(folder) / UNITS for folder in data), arks)


def read_styles(data: Sequence[str | os.PathLike[str]], utterances: Sequence[str]) -> np.ndarray:
    """Return the style vectors of utterances, (N, style)."""
    found = {utterance: matrix for folder in data for utterance, matrix in read_arks(Path(folder) / STYLES)}
    where = " ".join(map(str, data))
    if missing := [utterance for utterance in utterances if utterance not in found]:
        raise SerError(f"{where}: {missing[0]} has no style in {STYLES} ({len(missing)} have none); run "
                       "steps/extract_styles.sh again")
    shapes = {found[utterance].shape for utterance in utterances}
    if len(shapes) > 1 or next(iter(shapes))[0] != 1:
        raise SerError(f"{where}: the styles of {STYLES} have the shapes {sorted(shapes)[:3]}; each is to be one row "
                       "of as many numbers as the others; run steps/extract_styles.sh again")
    styles = np.concatenate([found[utterance] for utterance in utterances])
    if not np.isfinite(styles).all():
        bad = utterances[int(np.flatnonzero(~np.isfinite(styles).all(1))[0])]
        raise SerError(f"{where}: the style of {bad} has a number that is none; run steps/extract_styles.sh again")
    return styles
