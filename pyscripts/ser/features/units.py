"""Discrete units of speech: which of a codebook's centres each hidden state is nearest to, with repetitions removed.

Units keep what is said and lose most of who says it and how (Lakhotia et al., TACL 2021). A codebook belongs to one
layer of one encoder: units of another one are other numbers, and nothing but its hash would tell.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser.base.errors import SerError
from ser.base.files import atomic_path, fingerprint
from ser.base.kaldi_tables import read_table
from ser.base.progress import progress

UNITS, CONF = "units.txt", "conf/units.conf"
_BATCH_FRAMES = 10_000
_PASSES = 20  # over the frames that a codebook is fitted to


@dataclass(frozen=True)
class Codebook:
    """The centres of k-means.

    Attributes:
        centres: (k, D) float32.
        encoder: what made the hidden states that it was fitted to, as `ser.features.hidden_states.describe` has it; ''
            where that is not known.
    """

    centres: np.ndarray
    encoder: str

    @classmethod
    def fit(cls, states: np.ndarray, num_units: int, seed: int, encoder: str) -> Codebook:
        """Return a codebook of hidden states (n, D), by k-means on batches (Sculley, WWW 2010) from k-means++.

        Raises:
            SerError: there are fewer states than units.
        """
        from sklearn.cluster import MiniBatchKMeans

        if len(states) < num_units:
            raise SerError(f"{len(states)} frames are too few for {num_units} units; take more audio")
        random = np.random.default_rng(seed)
        means = MiniBatchKMeans(num_units, batch_size=_BATCH_FRAMES, n_init=1, reassignment_ratio=0, random_state=seed)
        batches = [
            order[begin : begin + _BATCH_FRAMES]
            for order in (random.permutation(len(states)) for _ in range(_PASSES))
            for begin in range(0, len(states), _BATCH_FRAMES)
        ]
        batches = [batch for batch in batches if len(batch) >= num_units]
        for batch in progress(batches, len(batches), f"fitting {num_units} units", "batch"):
            means.partial_fit(states[np.sort(batch)])
        return cls(means.cluster_centers_.astype(np.float32), encoder)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Codebook:
        """Read what `write` wrote, or the centres alone out of an .npy file.

        Raises:
            SerError: the file is missing or damaged, or is no matrix of finite numbers.
        """
        try:
            found = np.load(path, allow_pickle=False)
            if isinstance(found, np.ndarray):
                centres, encoder = found, ""
            else:
                with found:
                    centres, encoder = found["centres"], str(found["encoder"])
        except FileNotFoundError:
            raise SerError(
                f"{path}: no such codebook; fit one (steps/fit_codebook.sh), or correct --codebook"
            ) from None
        except (ValueError, EOFError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise SerError(
                f"{path}: no codebook ({error}); it is an .npy file of centres (units, dimensions), or what "
                "steps/fit_codebook.sh writes"
            ) from None
        if centres.ndim != 2 or len(centres) < 2 or centres.dtype.kind != "f" or not np.isfinite(centres).all():
            raise SerError(
                f"{path}: holds {centres.dtype} of shape {centres.shape}; a codebook is a matrix of finite "
                "numbers (units, dimensions)"
            )
        return cls(np.ascontiguousarray(centres, np.float32), encoder)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the codebook to an .npz file, atomically."""
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, centres=self.centres, encoder=self.encoder)

    def check(self, encoder: str, dim: int, where: object) -> None:
        """Check that hidden states of `dim` numbers, made by `encoder` (as `describe` has it), are what it is for.

        Raises:
            SerError: they are not; the message begins with `where`, the codebook's file.
        """
        if dim != self.centres.shape[1]:
            raise SerError(
                f"{where}: its centres have {self.centres.shape[1]} numbers and the hidden states {dim}; "
                "name the codebook of this encoder, or fit one (steps/fit_codebook.sh)"
            )
        if self.encoder and _without_precision(self.encoder) != _without_precision(encoder):
            raise SerError(
                f"{where}: was fitted to hidden states made with {' '.join(self.encoder.split())}, and these "
                f"are made with {' '.join(encoder.split())}; name the same encoder and layer, or fit another "
                "codebook (steps/fit_codebook.sh)"
            )

    def describe(self) -> str:
        """Return the number of units and the centres' hash, a line each, as conf/units.conf has them."""
        digest = fingerprint(self.centres.shape, self.centres.tobytes())[:16]
        return f"--codebook={digest}\n--num-units={len(self.centres)}\n"

    def units(self, states: np.ndarray) -> np.ndarray:
        """Return the number of the centre nearest to each hidden state (frames, D), (frames,) int64."""
        from sklearn.metrics import pairwise_distances_argmin

        return pairwise_distances_argmin(states, self.centres)


def deduplicate(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return units (n,) with repetitions removed (m,), and how often each was repeated (m,); `np.repeat` undoes it."""
    first = np.flatnonzero(np.diff(units, prepend=-1))
    return units[first], np.diff(first, append=len(units))


def read_units(
    data: Sequence[str | os.PathLike[str]], utterances: Iterable[str] | None = None, description: str | None = None
) -> tuple[dict[str, np.ndarray], str]:
    """Read the units of data directories.

    Args:
        data: directories with units.txt and conf/units.conf.
        utterances: those wanted; None is all.
        description: the content of conf/units.conf that a trained network was told; None allows any.

    Returns:
        For each utterance its units without repetitions, (m,) int64, and the content of conf/units.conf.

    Raises:
        SerError: a file is missing, a unit is none of the codebook's, the directories' units are of several codebooks
            or encoders, or are not those of `description`, or an utterance has none.
    """
    found: dict[str, np.ndarray] = {}
    for folder in map(Path, data):
        text = _description(folder)
        if description is not None and text != description:
            raise SerError(
                f"{folder / CONF}: units of {' '.join(text.split())}, not of {' '.join(description.split())}: "
                "they are other numbers for other sounds; run steps/extract_units.sh with the encoder, layer "
                "and codebook of the latter"
            )
        description = text
        number = num_units(text)
        for utterance, value in read_table(folder / UNITS).items():
            try:
                units = np.array(value.split(), np.int64)
            except ValueError:
                units = np.array([-1])
            if units.min() < 0 or units.max() >= number:
                raise SerError(
                    f"{folder / UNITS}: {utterance}: expected units from 0 to {number - 1}, found {value!r}; "
                    "run steps/extract_units.sh again"
                )
            found[utterance] = units
    if utterances is not None:
        wanted = list(utterances)
        if missing := [utterance for utterance in wanted if utterance not in found]:
            raise SerError(
                f"{' '.join(map(str, data))}: {missing[0]} has no units ({len(missing)} have none); run "
                "steps/extract_units.sh again"
            )
        found = {utterance: found[utterance] for utterance in wanted}
    return found, description or ""


def num_units(description: str) -> int:
    """Return how many units the content of conf/units.conf tells of."""
    return int(dict(line.split("=", 1) for line in description.split())["--num-units"])


def _description(folder: Path) -> str:
    try:
        return (folder / CONF).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SerError(
            f"{folder / CONF}: no such file, so that nothing tells what the units are; run steps/extract_units.sh"
        ) from None


def _without_precision(description: str) -> list[str]:
    return [line for line in description.split() if not line.startswith("--precision=")]
