"""The tables of a paper with our figures beside the paper's, as data.

The paper's numbers are in `conf/<paper>_tables.json`. Ours are those of the paper's model, trained as the paper says:
runs of the tag `paper` where a corpus has any, else runs without a tag.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser.augment.copypaste import SCHEMES
from ser.augment.dilution import DILUTED_TEST
from ser.base.errors import SerError
from ser.scoring.result_tables import ResultTable, class_f1_of, weighted_f1_of
from ser.scoring.results import TRAIN_DATA, Condition, Estimate, Results, tag_of_tables


@dataclass(frozen=True)
class PaperCell:
    """One cell of a table of the paper: the paper's value (None for what it has not) and ours, in per cent.

    `table` is None in a table that is ours alone.
    """

    table: int | None
    row: int | None
    corpus: str
    condition: Condition
    label: str | None
    paper: float | None
    ours: Estimate

    @property
    def difference(self) -> float | None:
        return None if self.paper is None or self.ours.mean is None else self.ours.mean - self.paper


def read_paper(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the numbers of a paper.

    Raises:
        SerError: the file is missing or not whole.
    """
    def check(paper: dict[str, Any]) -> None:
        if {"source", "model"} - paper.keys() or set(paper["schemes"]) - SCHEMES.keys():
            raise KeyError("source, model or schemes")
        for table in paper["tables"]:
            for row in table["rows"]:
                if set(row["f1"]) != set(paper["schemes"]) or row["corpus"] not in paper["corpora"]:
                    raise KeyError(f"table {table['table']} row {row['row']}")

    return read_numbers(path, check)


def read_numbers(path: str | os.PathLike[str], check: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Read a JSON file of a paper's numbers, of which `check` raises a KeyError or TypeError where they are not whole.

    Raises:
        SerError: the file is missing or not whole.
    """
    try:
        paper = json.loads(Path(path).read_text(encoding="utf-8"))
        check(paper)
    except FileNotFoundError:
        raise SerError(f"{path}: no such file; restore it with git") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise SerError(f"{path}: not the paper's tables ({problem}); restore it with git") from None
    return paper


def paper_tables(
    paper: Mapping[str, Any], corpora: Mapping[str, Results]
) -> tuple[list[ResultTable], list[PaperCell]]:
    """Make tables in the paper's layout, every row three times: ours, the paper's, the difference.

    Corpora that the paper does not have follow in rows of their own, ours only (except in tables of single classes),
    and so do tables of the diluted test, which no paper has. With several x-vector initialisations, the tables that use
    one are made for each.
    """
    tables: list[ResultTable] = []
    cells: list[PaperCell] = []
    tags = {name: tag_of_tables(_rows(paper, results)) for name, results in corpora.items()}
    xvectors = sorted({
        row.init for name, results in corpora.items() for row in _rows(paper, results)
        if row.tag == tags[name] and row.init != "random"
    })
    for table in [*paper["tables"], *_diluted_tables(corpora)]:
        rows = [row for row in table["rows"] if row["corpus"] in corpora]
        of_classes = any("class" in row for row in table["rows"])
        if not of_classes:
            rows += [
                {"row": None, "corpus": name, "train_data": train_data}
                for name in corpora if name not in {row["corpus"] for row in rows} for train_data in TRAIN_DATA
            ]
        if not rows:
            continue
        for init in ["random"] if table["init"] == "random" else xvectors or ["xvector"]:
            shown: list[list[str]] = []
            for row in rows:
                conditions = [
                    Condition(paper["model"], row["train_data"], scheme, init, tags[row["corpus"]])
                    for scheme in paper["schemes"]
                ]
                made = _cells(table, row, conditions, corpora[row["corpus"]])
                cells += made
                labels = [paper["corpora"].get(row["corpus"], row["corpus"]), TRAIN_DATA[row["train_data"]]]
                shown += _lines([row["class"].capitalize()] if of_classes else labels, made, row)
            named = f" ({init})" if init not in ("random", "xvector") else ""
            first = ("Emotion class",) if of_classes else ("Dataset", "Emotion data")
            header = (*first, "", *(SCHEMES[scheme] for scheme in paper["schemes"]))
            number = "Not in the paper" if table["table"] is None else f"Table {table['table']}"
            tables.append(ResultTable(f"{number}: {table['title']}{named}", header, shown, len(first) + 1))
    return tables, cells


def paper_marks(paper: Mapping[str, Any], corpus: str | None, results: Results) -> dict[tuple[str, Condition], float]:
    """Return the paper's weighted F1 of a corpus by test set and condition of ours; none where `corpus` is None."""
    tag = tag_of_tables(_rows(paper, results))
    return {
        (table["test"], ours.of_scheme(scheme)): value
        for table in paper["tables"] for row in table["rows"] if row["corpus"] == corpus and "class" not in row
        for ours in results.rows
        if (ours.model, ours.train_data, ours.tag) == (paper["model"], row["train_data"], tag)
        and (ours.init == "random") == (table["init"] == "random")
        for scheme, value in row["f1"].items()
    }


def _diluted_tables(corpora: Mapping[str, Results]) -> list[dict[str, Any]]:
    """Return the tables of the diluted test as a paper's file has its own; none where no corpus was tested on it."""
    if not any(DILUTED_TEST in results.tests for results in corpora.values()):
        return []
    return [
        {"table": None, "title": f"weighted F1 (%), {title} initialisation, diluted test", "init": init,
         "test": DILUTED_TEST, "rows": []}
        for init, title in (("random", "random"), ("xvector", "x-vector"))
    ]


def _rows(paper: Mapping[str, Any], results: Results) -> list[Condition]:
    """Return the rows of the results that are of the paper's model."""
    return [row for row in results.rows if row.model == paper["model"]]


def _cells(
    table: dict[str, Any], row: dict[str, Any], conditions: list[Condition], results: Results
) -> list[PaperCell]:
    if "class" in row and row["class"] not in results.classes:
        raise SerError(
            f"{results.exp_dir}: has the classes {' '.join(results.classes)}, not {row['class']} of the paper's "
            f"Table {table['table']}; is it really {row['corpus']}?"
        )
    figure = class_f1_of(row["class"]) if "class" in row else weighted_f1_of
    return [
        PaperCell(
            table["table"], row["row"], row["corpus"], condition, row.get("class"),
            row.get("f1", {}).get(condition.scheme), results.cell(condition, table["test"]).estimate(figure),
        )
        for condition in conditions
    ]


def _lines(labels: list[str], cells: list[PaperCell], row: dict[str, Any]) -> list[list[str]]:
    """Make a row's lines: ours, the paper's, the difference; as in the paper, the best scheme shows its gain on No CP.
    """
    best = max(cells[1:], key=lambda cell: -1 if cell.ours.mean is None else cell.ours.mean)
    gains = {}
    if "improvement" in row and best.ours.mean is not None and best.ours.complete and cells[0].ours.complete:
        gains[best.condition.scheme] = best.ours.mean - cells[0].ours.mean
    lines = [[*labels, "ours", *(_with_gain(cell.ours.text(2), gains.get(cell.condition.scheme)) for cell in cells)]]
    blank = ["" for _ in labels]
    if cells[0].paper is not None:
        printed = row.get("improvement", {})
        lines.append([*blank, "paper", *(
            _with_gain(f"{cell.paper:.2f}", printed.get(cell.condition.scheme)) for cell in cells
        )])
        lines.append([*blank, "difference", *(
            "—" if cell.difference is None else f"{cell.difference:+.2f}" + ("" if cell.ours.complete else "*")
            for cell in cells
        )])
    return lines


def _with_gain(text: str, gain: float | None) -> str:
    return text if gain is None else f"{text} ({gain:+.2f})"
