"""The features of a data directory with the frames that its VAD calls voiced, or with all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ser.base.errors import SerError
from ser.data.arks import read_arks


def tables_read(vad: bool) -> tuple[str, ...]:
    """Return the names of the tables of arks that `read_voiced` reads."""
    return ("feats.scp", "vad.scp") if vad else ("feats.scp",)


def read_voiced(data: Path, vad: bool = True) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield each utterance of feats.scp, its features (frames, D) and which frames are voiced, (frames,) bool.

    Without `vad` vad.scp is not read, and every frame counts as voiced.

    Raises:
        SerError: feats.scp and vad.scp have not the same utterances in the same order, or not as many frames of one.
    """
    if not vad:
        for utterance, matrix in read_arks(data / "feats.scp"):
            yield utterance, matrix, np.ones(len(matrix), bool)
        return
    pairs = itertools.zip_longest(
        read_arks(data / "feats.scp"), read_arks(data / "vad.scp"), fillvalue=("nothing", np.zeros(0))
    )
    for (utterance, matrix), (other, decisions) in pairs:
        if utterance != other:
            raise SerError(f"{data}: feats.scp has {utterance} where vad.scp has {other}; run steps/compute_vad.sh")
        if len(decisions) != len(matrix):
            raise SerError(
                f"{data}: {utterance} has {len(matrix)} frames in feats.scp and {len(decisions)} in vad.scp; "
                "run steps/compute_vad.sh again"
            )
        yield utterance, matrix, decisions > 0
