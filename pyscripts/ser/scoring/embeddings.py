"""Embeddings of utterances: how far emotions and speakers lie apart in them, and a picture of both."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from ser.base.errors import SerError
from ser.base.progress import progress
from ser.scoring.plots import Scatter, scatter_rows

_PERPLEXITY = 30  # van der Maaten and Hinton (2008) advise 5 to 50
_FEWEST = 5  # utterances


@dataclass(frozen=True)
class Embeddings:
    """What a network made of N utterances: `vectors` (N, E), with the emotion and the speaker of each."""

    title: str
    vectors: np.ndarray
    emotions: Sequence[str]
    speakers: Sequence[str]


def silhouette(vectors: np.ndarray, groups: Sequence[str]) -> float:
    """Return the mean silhouette coefficient of grouped vectors (N, E) by Euclidean distance (Rousseeuw 1987).

    It is 1 where groups are points far apart, 0 where they lie among each other, and below where others are nearer than
    one's own; NaN where there is one group alone, or where each vector is a group.
    """
    if not 2 <= len(set(groups)) < len(groups):
        return math.nan
    return float(silhouette_score(vectors, groups))


def layout(vectors: np.ndarray, seed: int) -> np.ndarray:
    """Return points (N, 2) by t-SNE, which brings near what is near among vectors (N, E); equal input, equal points."""
    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors.astype(np.float64))


def draw_embeddings(path: str | os.PathLike[str], runs: Sequence[Embeddings], seed: int = 0) -> None:
    """Draw runs side by side, above coloured by emotion and below by speaker, each with its silhouette coefficient.

    Args:
        path: where the picture goes, .png or .svg.
        seed: of t-SNE.

    Raises:
        SerError: a run has too few utterances, or vectors that are not finite.
    """
    for run in runs:
        if len(run.vectors) < _FEWEST:
            raise SerError(f"{run.title}: has {len(run.vectors)} utterances; t-SNE takes {_FEWEST} at least")
        if not np.isfinite(run.vectors).all():
            raise SerError(f"{run.title}: its embeddings are not finite; train again with --precision fp32")
    points = [layout(run.vectors, seed) for run in progress(runs, len(runs), "t-SNE", "run")]
    rows = {}
    for what in ("emotions", "speakers"):
        rows[what] = [
            Scatter(f"{run.title}\nsilhouette of {what} {silhouette(run.vectors, getattr(run, what)):.3f}", of_run,
                    getattr(run, what))
            for run, of_run in zip(runs, points, strict=True)
        ]
    scatter_rows(path, rows)
