"""What synthesis is trained on: of each utterance its units, its mel spectrogram and what its style is heard in.

A data directory has the spectrograms in feats.scp, the units in units.txt, and in styles.scp what a speaker encoder
reads of each utterance, bands of frames, and in the last column the utterance's level; conf/ says how each was made.
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
        styles: (B, style), or pieces of what they are heard in, (B, S, bands + 1).
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
        dim: bands of a spectrogram, and columns of what styles are heard in.
        styles: of each utterance, (its frames, bands + 1) float32 on the CPU.
        num_units: how many units the codebook has.
    """

    BATCH_ROWS: ClassVar = {"cuda": 50_000, "cpu": 8_000}

    def __init__(
        self, mels: FeatureStore, units: Sequence[np.ndarray], styles: Sequence[np.ndarray], num_units: int
    ) -> None:
        """`units` has (m,) integers of each utterance, `styles` (its frames, bands + 1)."""
        self._mels, self.num_units = mels, num_units
        self.utterances, self.lengths, self.device = mels.utterances, mels.lengths, mels.device
        self.units = [torch.from_numpy(each) for each in units]
        self.styles = [torch.from_numpy(each) for each in styles]
        self.dim = (mels.dim, styles[0].shape[1])
        self.digest = fingerprint(mels.digest, np.concatenate(units).tobytes(), *(each.tobytes() for each in styles))

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

    def pieces(self, indices: np.ndarray, longest: int, random: np.random.Generator) -> Tensor:
        """Return a piece of what the styles of utterances are heard in, (B, S, bands + 1), all as long as the shortest.

        It has `longest` frames at most, and begins where `random` says.
        """
        length = min(longest, *(len(self.styles[index]) for index in indices))
        begins = [random.integers(len(self.styles[index]) - length, endpoint=True) for index in indices]
        pieces = [self.styles[index][begin : begin + length] for index, begin in zip(indices, begins, strict=True)]
        return torch.stack(pieces).to(self.device, non_blocking=True)

    def whole(self, indices: np.ndarray, styles: Tensor) -> Speech:
        """Return whole utterances as a batch, in these styles."""
        rows, lengths = self._mels.whole(indices)
        units = [self.units[index] for index in indices]
        return Speech(
            pad_sequence(units, batch_first=True).to(self.device, non_blocking=True),
            torch.tensor([len(each) for each in units]),
            pad_sequence(rows.split(lengths.tolist()), batch_first=True),
            lengths,
            styles,
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


def read_styles(data: Sequence[str | os.PathLike[str]], utterances: Sequence[str]) -> list[np.ndarray]:
    """Return what the styles of utterances are heard in, (its frames, bands + 1) float32 of each."""
    found = {utterance: matrix for folder in data for utterance, matrix in read_arks(Path(folder) / STYLES)}
    where = " ".join(map(str, data))
    if missing := [utterance for utterance in utterances if utterance not in found]:
        raise SerError(f"{where}: {missing[0]} is not in {STYLES} ({len(missing)} are not); run steps/make_styles.sh "
                       "again")
    styles = [np.array(found[utterance], np.float32) for utterance in utterances]
    if len(bands := {matrix.shape[1] for matrix in styles}) > 1:
        raise SerError(f"{where}: {STYLES} has rows of {sorted(bands)} numbers, which are to be as many; run "
                       "steps/make_styles.sh again")
    for utterance, matrix in zip(utterances, styles, strict=True):
        if not len(matrix) or not np.isfinite(matrix).all():
            raise SerError(f"{where}: {utterance} has no frames in {STYLES}, or a number that is none; run "
                           "steps/make_styles.sh again")
    return styles
