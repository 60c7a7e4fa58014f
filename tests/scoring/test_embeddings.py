"""Embeddings' silhouettes and pictures, from vectors whose answer is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from sklearn.metrics import silhouette_samples

from ser.base.errors import SerError
from ser.scoring.embeddings import Embeddings, draw_embeddings, layout, silhouette


def clouds(groups: int, each: int, spread: float) -> tuple[np.ndarray, list[str]]:
    """Normal clouds around points far apart."""
    random = np.random.default_rng(0)
    vectors = np.concatenate([random.normal(100 * np.eye(groups, 8)[number], spread, (each, 8))
                              for number in range(groups)])
    return vectors, [f"g{number}" for number in range(groups) for _ in range(each)]


def test_silhouettes_of_groups_apart_of_mixed_ones_and_of_one_alone() -> None:
    vectors, groups = clouds(3, 20, 1e-3)
    assert silhouette(vectors, groups) == pytest.approx(1, abs=1e-3)
    mixed = [f"s{number % 4}" for number in range(60)]
    assert silhouette(vectors, mixed) == pytest.approx(silhouette_samples(vectors, mixed).mean())
    assert silhouette(vectors, mixed) < 0.1
    assert math.isnan(silhouette(vectors, ["one"] * 60)) and math.isnan(silhouette(vectors, list(map(str, range(60)))))


def test_points_of_a_group_stay_together_and_are_the_same_again() -> None:
    vectors, groups = clouds(3, 20, 1)
    points = layout(vectors, 0)
    assert points.shape == (60, 2) and silhouette(points, groups) > 0.6
    assert np.array_equal(points, layout(vectors, 0))


def test_the_picture_has_runs_side_by_side_and_is_the_same_again(tmp_path: Path) -> None:
    vectors, groups = clouds(2, 6, 1)
    speakers = [f"s{number}" for number in range(12)]  # more than there are named colours
    one = Embeddings("one", vectors, groups, speakers)
    draw_embeddings(tmp_path / "one.png", [one])
    draw_embeddings(tmp_path / "two.png", [one, one])
    draw_embeddings(tmp_path / "again.png", [one, one])
    assert imread(tmp_path / "two.png").shape[1] > 1.5 * imread(tmp_path / "one.png").shape[1]
    assert (tmp_path / "two.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    draw_embeddings(tmp_path / "one.svg", [one])
    assert (tmp_path / "one.svg").read_text().lstrip().startswith("<?xml")


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    vectors, groups = clouds(2, 6, 1)
    with pytest.raises(SerError, match="few: has 4 utterances; t-SNE takes 5 at least"):
        draw_embeddings(tmp_path / "x.png", [Embeddings("few", vectors[:4], groups[:4], groups[:4])])
    with pytest.raises(SerError, match="broken: its embeddings are not finite"):
        draw_embeddings(tmp_path / "x.png", [Embeddings("broken", np.full_like(vectors, np.nan), groups, groups)])
    assert not list(tmp_path.iterdir())
