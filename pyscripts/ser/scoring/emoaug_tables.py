"""Table 1 of the EmoAug paper with our figures beside the paper's, as data.

The paper's numbers are in `conf/emoaug_tables.json`. Ours are those of runs of the tag `paper` where an experiment
folder has any of the encoder, else of runs without a tag.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ser.augment.copypaste import SCHEMES
from ser.nets.encoder_folder import KINDS
from ser.scoring.csv_files import Columns, write_csv
from ser.scoring.metrics import accuracy, uar
from ser.scoring.paper_tables import read_numbers
from ser.scoring.result_tables import ResultTable
from ser.scoring.results import Cell, Condition, Results, tag_of_tables

# The paper's measures: the measure in score.json, and the same of confusion counts.
FIGURES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {"WA": ("accuracy", accuracy), "UA": ("uar", uar)}

_CSV_COLUMNS: Columns = {
    "corpus": lambda cell: cell.row.corpus,
    **{name: lambda cell, name=name: cell.row.printed[name] for name in ("group", "method")},
    **{name: lambda cell, name=name: cell.row.condition and getattr(cell.row.condition, name)
       for name in ("model", "train_data", "scheme", "tag")},
    "train_utterances": lambda cell: cell.row.cell and cell.row.cell.train_utterances,
    "runs": lambda cell: cell.estimate and cell.estimate.runs,
    "expected_runs": lambda cell: cell.estimate and cell.estimate.expected,
    "measure": lambda cell: cell.figure,
    "ours": lambda cell: cell.estimate and cell.estimate.mean,
    "standard_deviation": lambda cell: cell.estimate and cell.estimate.std,
    "ours_pooled": lambda cell: cell.row.pooled(cell.figure),
    "paper": lambda cell: cell.row.paper(cell.figure),
    "why_missing": lambda cell: cell.row.why,
}


@dataclass(frozen=True)
class Encoder:
    """A pretrained encoder that runs of ours have: their `model`, and which of `KINDS` it is."""

    model: str
    kind: str


@dataclass(frozen=True)
class Row:
    """A row of the paper's table, `printed` as in the file, on a corpus; ours in `cell`, None where there is no run.

    `why` says why there is none, and is empty where there is one.
    """

    corpus: str
    printed: Mapping[str, Any]
    condition: Condition | None
    cell: Cell | None
    why: str
    of_paper: bool

    def paper(self, figure: str) -> float | None:
        """Return the paper's figure in per cent; None where it has none, or another corpus."""
        return self.printed[figure.lower()] if self.of_paper else None

    def pooled(self, figure: str) -> float | None:
        """Return our figure over the folds of a seed pooled, in per cent, averaged over seeds; None where runs lack."""
        if self.cell is None or not self.cell.complete:
            return None
        return float(100 * FIGURES[figure][1](self.cell.pooled().sum(axis=1)).mean())


def read_paper(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the numbers of the paper.

    Raises:
        SerError: the file is missing or not whole.
    """
    def check(paper: dict[str, Any]) -> None:
        if {"source", "corpus", "encoder", "rows"} - paper.keys():
            raise KeyError("source, corpus, encoder or rows")
        for row in paper["rows"]:
            if {"group", "method", "wa", "ua"} - row.keys() or ("why" in row) == ("train_data" in row):
                raise KeyError(str(row))
            if "train_data" in row and row["scheme"] not in SCHEMES:
                raise KeyError(row["scheme"])

    return read_numbers(path, check)


def emoaug_table(
    paper: Mapping[str, Any], results: Results, encoders: Sequence[Encoder]
) -> tuple[ResultTable, list[Row]]:
    """Make the paper's Table 1 of one corpus.

    Args:
        paper: what `read_paper` returned.
        results: of the corpus.
        encoders: the first stands in the rows of the paper's own recogniser, whatever it is; others in the rows of
            their kind.
    """
    rows = [_row(paper, printed, results, encoders) for printed in paper["rows"]]
    lines = []
    for _, group in groupby(rows, key=lambda row: row.printed["group"]):
        for number, row in enumerate(group):
            lines.append([row.printed["group"] if number == 0 else "", row.printed["method"], *_cells(row)])
    main, stand_in = encoders[0], KINDS[paper["encoder"]]
    notes = ["WA is the accuracy, UA the mean recall of the classes: the mean over folds, ± the standard deviation "
             "over seeds, and over the test utterances of all folds pooled. Utterances are those trained on, with all "
             "copies, on average over folds; CopyPaste joins them while training, and makes no copies."]
    if main.kind != paper["encoder"]:
        notes.append(f"Ours is with {KINDS[main.kind]} ({main.model}), which stands in for the paper's {stand_in} "
                     "Large.")
    if results.recipe != paper["corpus"]:
        notes.append(f"The paper's figures are of {paper['corpus']}, and so are not shown beside those of "
                     f"{results.recipe}.")
    header = ("", "Method", "Ours", "Utterances", *FIGURES, *(f"{name}, pooled" for name in FIGURES),
              *(f"{name}, paper" for name in FIGURES))
    return ResultTable(f"Table 1: {results.recipe} (%)", header, lines, 3, notes), rows


def write_emoaug_csv(path: Path, rows: Sequence[Row]) -> Path:
    """Write both figures of every row, in per cent, a line each."""
    def cells() -> Iterator[SimpleNamespace]:
        for row in rows:
            for figure, (name, _) in FIGURES.items():
                estimate = row.cell and row.cell.estimate(itemgetter(name))
                yield SimpleNamespace(row=row, figure=figure, estimate=estimate)

    return write_csv(path, _CSV_COLUMNS, cells())


def _row(paper: Mapping[str, Any], printed: Mapping[str, Any], results: Results, encoders: Sequence[Encoder]) -> Row:
    of_paper = results.recipe == paper["corpus"]
    if "why" in printed:
        return Row(results.recipe, printed, None, None, printed["why"], of_paper)
    kind = printed.get("encoder")
    encoder = next((one for one in encoders if one.kind == kind), None) if kind else encoders[0]
    if encoder is None:
        return Row(results.recipe, printed, None, None, f"quoted: no folder of {KINDS[kind]} given", of_paper)
    of_model = [condition for condition in results.conditions if condition.model == encoder.model]
    tag = tag_of_tables(of_model)
    for condition in of_model:
        if (condition.train_data, condition.scheme, condition.tag) == (printed["train_data"], printed["scheme"], tag):
            cell = results.cell(condition, "test")
            if cell.scores:
                return Row(results.recipe, printed, condition, cell, "", of_paper)
    wanted = f"{printed['train_data']}, {SCHEMES[printed['scheme']]}"
    return Row(results.recipe, printed, None, None, f"missing: no runs on {wanted}", of_paper)


def _cells(row: Row) -> list[str]:
    printed = ["—" if row.paper(figure) is None else f"{row.paper(figure):.2f}" for figure in FIGURES]
    if row.cell is None or row.condition is None:
        return [row.why, *["—"] * (1 + 2 * len(FIGURES)), *printed]
    size = row.cell.train_utterances
    pooled = [row.pooled(figure) for figure in FIGURES]
    return [
        row.condition.model, "—" if size is None else f"{size:.0f}",
        *(row.cell.estimate(itemgetter(name)).text(2) for name, _ in FIGURES.values()),
        *("—" if value is None else f"{value:.2f}" for value in pooled), *printed,
    ]
