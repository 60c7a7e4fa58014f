"""The CSV files of a report. A column is declared once: its name, and how to get its value from a row."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ser.base.files import write_text
from ser.scoring.metrics import MEASURES
from ser.scoring.paper_tables import PaperCell
from ser.scoring.result_tables import figures
from ser.scoring.results import Results

Columns = Mapping[str, Callable[[Any], Any]]

_CONDITION_COLUMNS: Columns = {
    "model": lambda row: row.condition.model,
    "train_data": lambda row: row.condition.train_data,
    "init": lambda row: row.condition.init,
    "tag": lambda row: row.condition.tag,
    "scheme": lambda row: row.condition.scheme,
}
_SUMMARY_COLUMNS: Columns = {
    "test": lambda row: row.test,
    **_CONDITION_COLUMNS,
    "runs": lambda row: row.estimate.runs,
    "expected_runs": lambda row: row.estimate.expected,
    "normalised_over": lambda row: row.normalised_over,
    "measure": lambda row: row.measure,
    "mean": lambda row: row.estimate.mean,
    "standard_deviation": lambda row: row.estimate.std,
}
_SIGNIFICANCE_COLUMNS: Columns = {
    "test": lambda row: row.test,
    **_CONDITION_COLUMNS,
    "speakers": lambda row: row.found.speakers,
    "normalised_over": lambda row: row.normalised_over,
    "weighted_f1": lambda row: row.found.f1,
    "low": lambda row: row.found.f1_interval[0],
    "high": lambda row: row.found.f1_interval[1],
    "difference_to_none": lambda row: row.found.to_none and row.found.to_none.points,
    "difference_low": lambda row: row.found.to_none and row.found.to_none.interval[0],
    "difference_high": lambda row: row.found.to_none and row.found.to_none.interval[1],
    "p": lambda row: row.found.to_none and f"{row.found.to_none.p:.6g}",
    "difference_to_clean": lambda row: row.found.to_clean and row.found.to_clean.points,
    "clean_low": lambda row: row.found.to_clean and row.found.to_clean.interval[0],
    "clean_high": lambda row: row.found.to_clean and row.found.to_clean.interval[1],
    "clean_p": lambda row: row.found.to_clean and f"{row.found.to_clean.p:.6g}",
    "difference_to_baseline": lambda row: row.found.to_baseline and row.found.to_baseline.points,
    "baseline_low": lambda row: row.found.to_baseline and row.found.to_baseline.interval[0],
    "baseline_high": lambda row: row.found.to_baseline and row.found.to_baseline.interval[1],
    "baseline_p": lambda row: row.found.to_baseline and f"{row.found.to_baseline.p:.6g}",
}
_RUN_COLUMNS: Columns = {
    "test": lambda row: row.test,
    **_CONDITION_COLUMNS,
    "fold": lambda row: row.fold,
    "seed": lambda row: row.seed,
    "utterances": lambda row: row.record["utterances"],
    "dropped": lambda row: row.record["dropped"],
    "normalised_over": lambda row: _normalised_over(row.record["normalised_over"]),
    "left_out": lambda row: row.record["left_out"],
    **{name: lambda row, name=name: 100 * row.record[name] for name in MEASURES},
    "train_utterances": lambda row: row.record["checkpoint"].get("train_utterances"),
    "checkpoint": lambda row: row.record["checkpoint"]["path"],
    "epoch": lambda row: row.record["checkpoint"]["epoch"],
    **{f"dev_{name}": lambda row, name=name: _dev_figure(row.record, name) for name in MEASURES},
}
_PAPER_COLUMNS: Columns = {
    "table": lambda cell: cell.table,
    "row": lambda cell: cell.row,
    "corpus": lambda cell: cell.corpus,
    **_CONDITION_COLUMNS,
    "class": lambda cell: cell.label,
    "ours": lambda cell: cell.ours.mean,
    "standard_deviation": lambda cell: cell.ours.std,
    "runs": lambda cell: cell.ours.runs,
    "expected_runs": lambda cell: cell.ours.expected,
    "paper": lambda cell: cell.paper,
    "difference": lambda cell: cell.difference,
}


def write_csv_files(folder: str | os.PathLike[str], results: Results) -> list[Path]:
    """Write `summary.csv`, `significance.csv` and `runs.csv` of one corpus; return their paths."""
    folder = Path(folder)
    return [
        write_csv(folder / "summary.csv", _SUMMARY_COLUMNS, _summary_rows(results)),
        write_csv(folder / "significance.csv", _SIGNIFICANCE_COLUMNS, _significance_rows(results)),
        write_csv(folder / "runs.csv", _RUN_COLUMNS, _run_rows(results)),
    ]


def write_paper_csv(path: str | os.PathLike[str], cells: Iterable[PaperCell]) -> Path:
    """Write the cells of a paper's tables, a line each; return the path."""
    return write_csv(Path(path), _PAPER_COLUMNS, cells)


def _dev_figure(record: Mapping[str, Any], name: str) -> float | None:
    """Return a figure on the development set in per cent, None where it was not recorded."""
    share = record["checkpoint"].get(f"dev_{name}")
    return None if share is None else 100 * share


def _normalised_over(recordings: Mapping[str, int]) -> float | None:
    """Return the recordings of a test speaker that features were normalised over, on average; None if by sliding means.
    """
    return sum(recordings.values()) / len(recordings) if recordings else None


def _summary_rows(results: Results) -> Iterator[SimpleNamespace]:
    for test in results.tests:
        for condition in results.conditions:
            for measure, (_, figure) in figures(results.classes).items():
                estimate = results.cell(condition, test).estimate(figure)
                over = _normalised_over(results.normalised_over(condition.model, test))
                yield SimpleNamespace(
                    test=test, condition=condition, normalised_over=over, measure=measure, estimate=estimate
                )


def _significance_rows(results: Results) -> Iterator[SimpleNamespace]:
    for test in results.tests:
        for condition, found in results.significance(test).items():
            over = _normalised_over(results.normalised_over(condition.model, test))
            yield SimpleNamespace(test=test, condition=condition, normalised_over=over, found=found)


def _run_rows(results: Results) -> Iterator[SimpleNamespace]:
    for test in results.tests:
        for condition in results.conditions:
            scores = results.cell(condition, test).scores
            for fold, seed in sorted(scores, key=lambda key: (key[0] or 0, key[1])):
                record = scores[fold, seed].record
                yield SimpleNamespace(test=test, condition=condition, fold=fold, seed=seed, record=record)


def write_csv(path: Path, columns: Columns, rows: Iterable[Any]) -> Path:
    """Write a line for each row, numbers with 4 decimals, None as an empty field; return the path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        fields = [get(row) for get in columns.values()]
        writer.writerow([f"{field:.4f}" if isinstance(field, float) else field for field in fields])
    write_text(path, text.getvalue())
    return path
