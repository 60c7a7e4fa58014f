"""Normalisation by the mean and deviation of a speaker's frames, as Kaldi's compute-cmvn-stats and apply-cmvn.

A speaker's statistics are a matrix (2, D + 1) float64, Kaldi's: the sums of the D features over all frames with the
number of frames after them, and the sums of their squares with 0 after them. In a directory of noisy copies each copy
of a speaker's recordings (one noise list at one SNR, say) has statistics of its own.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ser.base.errors import SerError
from ser.base.files import Marker, fingerprint, write_text
from ser.base.kaldi_tables import read_table, write_table
from ser.base.progress import progress
from ser.data.arks import ArkWriter
from ser.features.feature_step import scp_inputs
from ser.features.voiced import read_voiced, tables_read

BY_SPEAKER = "--cmn=speaker"  # the line of conf/cmn.conf that features so normalised have
_LEAST_VARIANCE = 1e-20  # Kaldi's floor in ApplyCmvn
_TABLES = ("cmvn.scp", "utt2cmvn", "utt2num_cmvn")


def cmvn_stats(features: np.ndarray) -> np.ndarray:
    """Return the statistics (2, D + 1) float64 of features (frames, D), which add up over utterances."""
    stats = np.zeros((2, features.shape[1] + 1))
    wide = features.astype(np.float64)
    stats[0, :-1], stats[0, -1], stats[1, :-1] = wide.sum(0), len(features), (wide * wide).sum(0)
    return stats


def apply_cmvn(features: np.ndarray, stats: np.ndarray, divide: bool = False) -> np.ndarray:
    """Subtract the mean that statistics tell and, if asked, divide by the standard deviation.

    Args:
        features: (frames, D) float32.
        stats: (2, D + 1), of at least one frame.
        divide: whether to divide, as apply-cmvn does with --norm-vars=true.

    Returns:
        (frames, D) float32.

    Raises:
        SerError: the statistics are not of D features, or of no frame.
    """
    if stats.shape != (2, features.shape[1] + 1) or stats[0, -1] < 1:
        raise SerError(f"statistics of shape {stats.shape} over {stats[0, -1]:g} frames for {features.shape[1]} "
                       "features; run steps/compute_cmvn_stats.sh again")
    mean = stats[0, :-1] / stats[0, -1]
    result = features - mean
    if divide:
        result /= np.sqrt(np.maximum(stats[1, :-1] / stats[0, -1] - mean * mean, _LEAST_VARIANCE))
    return result.astype(np.float32)


class CmvnStats:
    """The statistics of a data directory, which are made of its feats.scp, vad.scp, utt2spk and utt2uniq.

    With `per_utt` each utterance has statistics of its own, as a recording has that comes alone from a stranger.
    Without `vad` statistics are over all frames, not the voiced ones alone, and vad.scp is not read. Raises a SerError
    if a table is missing, or feats.scp has other utterances than utt2spk.

    Written are, in the folder of arks, `cmvn_<name>.ark` and `.scp`, keyed by speaker, or by speaker and copy
    (`s1-noise-snr10`); in the data directory

        cmvn.scp       the same, where the keys are the speakers, as Kaldi has it
        utt2cmvn       for each utterance where its statistics are
        utt2num_cmvn   for each utterance the number of recordings with voiced frames that these are of
    """

    def __init__(self, data: Path, ark_dir: Path, per_utt: bool = False, vad: bool = True) -> None:
        self.data, self._per_utt, self._vad = data, per_utt, vad
        self._ark, self._scp = (
            Path(os.path.abspath(ark_dir / f"cmvn_{data.resolve().name}.{kind}")) for kind in ("ark", "scp")
        )
        self._speakers = read_table(data / "utt2spk")
        self._originals = read_table(data / "utt2uniq") if (data / "utt2uniq").exists() else {}
        inputs = [scp_inputs(data / name) for name in tables_read(vad)]
        if inputs[0].keys() != self._speakers.keys():
            raise SerError(f"{data}: feats.scp and utt2spk have different utterances; run utils/fix_data_dir.sh {data}")
        self._marker = Marker(data / ".compute_cmvn_stats.done",
                              fingerprint(inputs, self._speakers, self._originals, str(self._ark), per_utt))

    def is_current(self) -> bool:
        return self._marker.is_current()

    def compute(self) -> str:
        """Make the statistics and return a line for the log.

        Raises:
            SerError: as `read_voiced`; or the ark belongs to another data directory.
        """
        self._take_ark()
        self._marker.clear()
        for name in _TABLES:
            (self.data / name).unlink(missing_ok=True)
        stats: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}
        keys = {utterance: self._key(utterance) for utterance in self._speakers}
        for utterance, matrix, voiced in progress(read_voiced(self.data, self._vad), len(keys), "added to statistics"):
            key = keys[utterance]
            stats[key] = stats.get(key, 0) + cmvn_stats(matrix[voiced])
            counts[key] = counts.get(key, 0) + int(voiced.any())
        with ArkWriter(self._ark, self._scp) as writer:
            for key in sorted(stats, key=str.encode):
                writer.write(key, stats[key])
        places = read_table(self._scp)
        tables: dict[str, dict[str, object]] = {
            "utt2num_cmvn": {utterance: counts[key] for utterance, key in keys.items()},
            "utt2cmvn": {utterance: places[key] for utterance, key in keys.items()},
        }
        if places.keys() == set(self._speakers.values()):
            tables["cmvn.scp"] = places
        for name, table in tables.items():
            write_table(self.data / name, table)
        self._marker.write([self._ark, self._scp, *(self.data / name for name in tables)])
        frames = sum(int(matrix[0, -1]) for matrix in stats.values())
        return f"{len(stats)} statistics over {len(keys)} utterances, {frames} {'voiced ' * self._vad}frames"

    def _take_ark(self) -> None:
        """Note whose the ark is. Raises a SerError if another data directory of this name uses it."""
        note = self._ark.with_suffix(".data")
        owner = Path(note.read_text().strip()) if note.exists() else self.data
        table = owner / "utt2cmvn"
        if owner.resolve() != self.data.resolve() and table.exists() and f" {self._ark}:" in table.read_text():
            raise SerError(f"{self._ark}: belongs to {owner}; give {self.data} another folder for arks")
        write_text(note, f"{self.data.resolve()}\n")

    def _key(self, utterance: str) -> str:
        """Return the speaker and, in a copy whose ids are the originals' with a suffix, that suffix."""
        if self._per_utt:
            return utterance
        original = self._originals.get(utterance, utterance)
        return self._speakers[utterance] + (utterance.removeprefix(original) if utterance.startswith(original) else "")
