"""Draw the charts of a report, as PNG or SVG files; of these, equal input gives equal bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from sklearn.metrics import ConfusionMatrixDisplay

from ser.base.errors import SerError
from ser.base.files import atomic_path

# The colours of Okabe and Ito, which colour-blind readers tell apart as well.
_COLOURS = ("#999999", "#56B4E9", "#E69F00", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
_WITHOUT_DATE = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}  # nor the library's version


@dataclass(frozen=True)
class Bars:
    """One panel of a bar chart: R groups of bars, one bar per series.

    `values`, `low` and `high` are (groups, series): NaN in `values` leaves a bar out, in `low` its interval. `partial`
    (groups, series) is true where runs are missing; such bars are hatched. `marks` (groups, series) are drawn as short
    black lines (the paper's values); None for none.
    """

    title: str
    groups: Sequence[str]
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    partial: np.ndarray
    marks: np.ndarray | None = None


def bar_chart(path: str | os.PathLike[str], panels: Sequence[Bars], series: Sequence[str], ylabel: str) -> None:
    """Draw panels below each other, all with the same axes."""
    widest = max(len(panel.groups) for panel in panels)
    figure = Figure(figsize=(max(6.5, 1.8 * widest + 2), 2.9 * len(panels) + 0.6), dpi=120, layout="constrained")
    width = 0.8 / len(series)
    for number, panel in enumerate(panels, 1):
        axes = figure.add_subplot(len(panels), 1, number)
        for column in range(len(series)):
            place = np.arange(len(panel.groups)) + (column - (len(series) - 1) / 2) * width
            bars = axes.bar(
                place, np.nan_to_num(panel.values[:, column]), 0.92 * width, zorder=2,
                color=_COLOURS[column % len(_COLOURS)],
            )
            for group, bar in enumerate(bars):
                value, low, high = (array[group, column] for array in (panel.values, panel.low, panel.high))
                if np.isnan(value):
                    continue
                if panel.partial[group, column]:
                    bar.set(hatch="//", alpha=0.5)
                if not np.isnan(low):
                    axes.plot([place[group]] * 2, [low, high], color="black", linewidth=1, zorder=3)
                top = value if np.isnan(low) else high
                axes.annotate(
                    f"{value:.1f}" + ("*" if panel.partial[group, column] else ""), (place[group], top),
                    xytext=(0, 2), textcoords="offset points", ha="center", fontsize=8,
                )
            if panel.marks is not None:
                axes.hlines(
                    panel.marks[:, column], place - 0.45 * width, place + 0.45 * width, color="black", linewidth=2,
                    linestyle=(0, (1.2, 0.6)), zorder=4,
                )
        axes.set(title=panel.title, ylabel=ylabel, ylim=(0, 109), xlim=(-0.6, widest - 0.4), yticks=range(0, 101, 20))
        axes.set_xticks(np.arange(len(panel.groups)), panel.groups)
        axes.grid(axis="y", color="#dddddd", zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
    keys = [Patch(color=_COLOURS[column % len(_COLOURS)], label=name) for column, name in enumerate(series)]
    figure.legend(handles=keys, loc="outside upper center", ncols=len(series), frameon=False)
    _save(figure, path)


def confusion_matrices(
    path: str | os.PathLike[str],
    title: str,
    names: Sequence[str],
    matrices: Sequence[np.ndarray],
    classes: Sequence[str],
) -> None:
    """Draw confusion counts (C, C) side by side: rows the reference, every field with its share of the row in per cent
    and its count."""
    side = max(2.6, 0.75 * len(classes) + 0.6)
    figure = Figure(figsize=(side * len(names) + 1.2, side + 1.7), dpi=120, layout="constrained")
    figure.suptitle(title)
    for number, (name, matrix) in enumerate(zip(names, matrices, strict=True), 1):
        axes = figure.add_subplot(1, len(names), number)
        share = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        display = ConfusionMatrixDisplay(share, display_labels=classes)
        display.plot(ax=axes, cmap="Blues", colorbar=False, xticks_rotation=30, im_kw={"vmin": 0, "vmax": 100})
        for place, text in np.ndenumerate(display.text_):
            colour = "white" if share[place] > 55 else "black"
            text.set(text=f"{share[place]:.0f} %\n{matrix[place]}", color=colour, fontsize=8)
        axes.set(title=name, xlabel="hypothesis", ylabel="reference")
        axes.label_outer()
    _save(figure, path)


def image_row(
    path: str | os.PathLike[str], images: Mapping[str, np.ndarray], xlim: tuple[float, float],
    ylim: tuple[float, float], xlabel: str, ylabel: str, origin: str,
) -> None:
    """Draw images (H, W, 3) uint8, each with its title, side by side.

    `xlim` and `ylim` are what their edges are on the axes; the first row of an image is at its top, which is the high
    end of the vertical axis with origin `lower`, and its low end with `upper`.
    """
    figure = Figure(figsize=(4.4 * len(images) + 0.6, 4), dpi=120, layout="constrained")
    extent = (*xlim, *(ylim if origin == "lower" else ylim[::-1]))
    for number, (title, image) in enumerate(images.items(), 1):
        axes = figure.add_subplot(1, len(images), number)
        axes.imshow(image, extent=extent, aspect="auto", interpolation="nearest")
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        axes.label_outer()
    _save(figure, path)


@dataclass(frozen=True)
class Scatter:
    """One panel of points (N, 2) with the group of each."""

    title: str
    points: np.ndarray
    groups: Sequence[str]


def scatter_rows(path: str | os.PathLike[str], rows: Mapping[str, Sequence[Scatter]]) -> None:
    """Draw rows of panels of points, coloured by groups that all panels of a row share; a row's name is its legend's.
    """
    width = max(map(len, rows.values()))
    figure = Figure(figsize=(4 * width + 1.6, 4.3 * len(rows)), dpi=120, layout="constrained")
    for number, (name, panels) in enumerate(rows.items()):
        groups = sorted({group for panel in panels for group in panel.groups})
        few = len(groups) <= len(_COLOURS)
        colours = _COLOURS if few else colormaps["turbo"](np.linspace(0, 1, len(groups)))
        for column, panel in enumerate(panels):
            axes = figure.add_subplot(len(rows), width, number * width + column + 1)
            for group, colour in zip(groups, colours, strict=not few):
                chosen = panel.points[np.array(panel.groups) == group]
                axes.scatter(*chosen.T, s=12, color=[colour], label=group, linewidths=0)
            axes.set_title(panel.title, fontsize=8)
            axes.set(xticks=[], yticks=[])
        axes.legend(title=name, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=7,
                    ncols=1 + len(groups) // 20)
    _save(figure, path)


def picture_format(path: str | os.PathLike[str]) -> str:
    """Return the format that the ending of a picture's name says. Raises SerError if matplotlib writes no such format.
    """
    kind = os.path.splitext(path)[1].removeprefix(".").lower()
    if kind not in (known := FigureCanvasBase.get_supported_filetypes()):
        raise SerError(f"{path}: the name must end in one of .{', .'.join(sorted(known))}")
    return kind


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    kind = picture_format(path)
    with atomic_path(path) as temporary, rc_context({"svg.hashsalt": "ser"}):
        figure.savefig(temporary, format=kind, metadata=_WITHOUT_DATE.get(kind))


def course(
    path: str | os.PathLike[str], title: str, times: Sequence[float], values: Sequence[Sequence[float]],
    classes: Sequence[str],
) -> None:
    """Draw the probability of each class over time; NaN leaves a gap.

    Args:
        path: where the picture goes; its ending says which format, as of `picture_format`.
        times: (N,) in seconds.
        values: (N, classes).
    """
    figure = Figure(figsize=(8, 3), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for column, name in enumerate(classes):
        axes.plot(times, [row[column] for row in values], ".-", label=name, color=_COLOURS[1:][column % 7])
    axes.set(xlabel="time (s)", ylabel="probability", ylim=(0, 1), title=title)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    _save(figure, path)
