"""Tables of results: aligned text, Markdown and CSV, for one corpus or several."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from ser.base.errors import SerError
from ser.base.files import write_text
from ser.scoring import plots
from ser.scoring.results import SCHEMES, TRAIN_DATA, Cell, Condition, Estimate, Results, test_title
from ser.scoring.significance import RESAMPLES

_FEW_SPEAKERS = 10


@dataclass(frozen=True)
class Table:
    """A titled table of strings; the first `labels` columns are row labels, the others figures."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: int = 2

    def text(self) -> str:
        """Aligned columns for a terminal."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        shown = [
            "  ".join(
                cell.ljust(width) if column < self.labels else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, shown[0], "-" * max(map(len, shown)), *shown[1:]])

    def markdown(self) -> str:
        ruler = ["---" if column < self.labels else "---:" for column in range(len(self.header))]
        lines = [self.header, ruler, *([cell.replace("*", "\\*") for cell in row] for row in self.rows)]
        return "\n".join([f"**{self.title}**", "", *("| " + " | ".join(line) + " |" for line in lines)])


weighted_f1_of = itemgetter("weighted_f1")


def class_f1_of(name: str, record: dict[str, Any]) -> float:
    return record["per_class"][name]["f1"]


def summary_tables(results: Results) -> list[Table]:
    """One table per test set: rows training data and initialisation, columns schemes, weighted F1."""
    schemes = results.schemes
    return [
        Table(
            f"Weighted F1 (%), {test_title(test)}",
            ("Training data", "Init", *(SCHEMES[scheme] for scheme in schemes)),
            [
                (TRAIN_DATA[train_data], init, *(
                    results.cell(Condition(train_data, scheme, init), test).estimate(weighted_f1_of).text()
                    for scheme in schemes
                ))
                for train_data, init in results.rows
            ],
        )
        for test in results.tests
    ]


def _folds(folds: Sequence[int]) -> str:
    if len(folds) < 2:
        return f", fold {folds[0]}" if folds else ""
    return f", mean of folds {' '.join(map(str, folds))}"


def runs_line(results: Results) -> str:
    """Which runs a complete cell has, in words."""
    seeds = " ".join(map(str, results.seeds))
    folds = _folds(results.folds)
    spread = "mean ± standard deviation over seeds" if len(results.seeds) > 1 else "seed"
    return f"{spread} {seeds}{folds}"


def read_paper(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The paper's numbers (`conf/paper_tables.json`).

    Raises:
        SerError: the file is missing or not whole.
    """
    try:
        paper = json.loads(Path(path).read_text(encoding="utf-8"))
        for table in paper["tables"]:
            for row in table["rows"]:
                if set(row["f1"]) != set(SCHEMES) or row["corpus"] not in paper["corpora"]:
                    raise KeyError(f"table {table['table']} row {row['row']}")
    except FileNotFoundError:
        raise SerError(f"{path}: no such file; restore it with git") from None
    except (ValueError, KeyError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise SerError(f"{path}: not the paper's tables ({problem}); restore it with git") from None
    return paper


@dataclass(frozen=True)
class PaperCell:
    """One cell of a table of the paper: the paper's value (None for a corpus it has not) and ours, in per cent."""

    table: int
    row: int | None
    corpus: str
    condition: Condition
    label: str | None
    paper: float | None
    ours: Estimate

    @property
    def difference(self) -> float | None:
        return None if self.paper is None or self.ours.mean is None else self.ours.mean - self.paper


def paper_tables(paper: dict[str, Any], corpora: dict[str, Results]) -> tuple[list[Table], list[PaperCell]]:
    """Tables 2 to 6 in the paper's layout, every row three times: ours, the paper's, the difference.

    Corpora that the paper does not have follow in rows of their own, ours only (except in Table 4). With several
    x-vector initialisations, the tables that use one are made for each.
    """
    tables: list[Table] = []
    cells: list[PaperCell] = []
    xvectors = sorted({init for results in corpora.values() for _, init in results.rows if init != "random"})
    for table in paper["tables"]:
        rows = [row for row in table["rows"] if row["corpus"] in corpora]
        if table["table"] != 4:
            rows += [
                {"row": None, "corpus": name, "train_data": train_data}
                for name in corpora if name not in paper["corpora"] for train_data in TRAIN_DATA
            ]
        if not rows:
            continue
        for init in ["random"] if table["init"] == "random" else xvectors or ["xvector"]:
            shown: list[list[str]] = []
            for row in rows:
                made = _paper_row(table, row, init, corpora[row["corpus"]])
                cells += made
                labels = [paper["corpora"].get(row["corpus"], row["corpus"]), TRAIN_DATA[row["train_data"]]]
                if "class" in row:
                    labels = [row["class"].capitalize()]
                shown += _paper_lines(labels, made, row)
            named = f" ({init})" if init not in ("random", "xvector") else ""
            first = ("Emotion class",) if table["table"] == 4 else ("Dataset", "Emotion data")
            title = f"Table {table['table']}: {table['title']}{named}"
            tables.append(Table(title, (*first, "", *SCHEMES.values()), shown, len(first) + 1))
    return tables, cells


def write_corpus_report(
    results: Results, out_dir: str | os.PathLike[str], paper: dict[str, Any], paper_corpus: str | None
) -> list[Path]:
    """Write the report of one corpus: `report.md`, the CSV files and the figures; return what was written.

    `paper_corpus` is the corpus of the paper to compare with, None for none.
    """
    out = Path(out_dir)
    written = [out / "report.md"]
    parts = [f"# {results.recipe}: results", _introduction(results), "## Weighted F1"]
    parts += [table.markdown() for table in summary_tables(results)]
    parts.append(_missing_markdown(results))
    marks = _paper_marks(paper, paper_corpus)
    plots.bar_chart(
        out / "weighted_f1.png", [_bars(results, test, marks) for test in results.tests],
        [SCHEMES[scheme] for scheme in results.schemes], "weighted F1 (%)",
    )
    written.append(out / "weighted_f1.png")
    parts.append(
        "![Weighted F1](weighted_f1.png)\n\nLines on the bars are 95 % intervals over speakers; "
        + ("dotted marks are the paper's values; " if paper_corpus else "")
        + "hatched bars lack runs."
    )
    parts += ["## Intervals and tests", _significance_text(results)]
    parts += [_significance_table(results, test).markdown() for test in results.tests]
    parts += ["## Other measures", *(table.markdown() for table in _measure_tables(results))]
    parts += ["## Confusion matrices", "Rows are the reference; counts are summed over the runs."]
    for test in results.tests:
        for train_data, init in results.rows:
            name = f"confusion_{test}_{train_data}_{init}.png"
            if _plot_confusion(results, out / name, train_data, init, test):
                parts.append(f"![Confusion, {test_title(test)}, {train_data}, {init}]({name})")
                written.append(out / name)
    if paper_corpus:
        tables, cells = paper_tables(paper, {paper_corpus: results})
        parts += ["## Against the paper", *_paper_section(paper, tables)]
        written.append(_write_csv(out / "paper.csv", _PAPER_COLUMNS, map(_paper_fields, cells)))
    written.append(_write_csv(out / "summary.csv", _SUMMARY_COLUMNS, _summary_fields(results)))
    written.append(_write_csv(out / "significance.csv", _SIGNIFICANCE_COLUMNS, _significance_fields(results)))
    written.append(_write_csv(out / "runs.csv", _RUN_COLUMNS, _run_fields(results)))
    write_text(out / "report.md", "\n\n".join(part for part in parts if part) + "\n")
    return written


def write_overall_report(
    corpora: dict[str, Results], out_dir: str | os.PathLike[str], paper: dict[str, Any]
) -> list[Path]:
    """Write the tables of the paper over several corpora: `overall.md`, `overall.csv` and `overall.png`."""
    out = Path(out_dir)
    tables, cells = paper_tables(paper, corpora)
    parts = ["# All corpora: results"]
    parts += [f"{paper['corpora'].get(name, name)}: {runs_line(results)}." for name, results in corpora.items()]
    parts += _paper_section(paper, tables)
    parts += [
        f"{name}:\n\n{missing}" for name, results in corpora.items() if (missing := _missing_markdown(results))
    ]
    panels = []
    tests = dict.fromkeys(test for results in corpora.values() for test in results.tests)
    for test in tests:
        bars = [
            _bars(results, test, _paper_marks(paper, name if name in paper["corpora"] else None), list(SCHEMES),
                  f"{paper['corpora'].get(name, name)}\n")
            for name, results in corpora.items()
        ]
        arrays = ("values", "low", "high", "partial", "marks")
        panels.append(plots.Bars(
            test_title(test), [group for bar in bars for group in bar.groups],
            *(np.concatenate([getattr(bar, array) for bar in bars]) for array in arrays),
        ))
    plots.bar_chart(out / "overall.png", panels, list(SCHEMES.values()), "weighted F1 (%)")
    parts.append(
        "![Weighted F1](overall.png)\n\nLines on the bars are 95 % intervals over speakers, dotted marks the paper's "
        "values; hatched bars lack runs."
    )
    _write_csv(out / "overall.csv", _PAPER_COLUMNS, map(_paper_fields, cells))
    write_text(out / "overall.md", "\n\n".join(parts) + "\n")
    return [out / "overall.md", out / "overall.csv", out / "overall.png"]


# ---- the parts of a report


def _introduction(results: Results) -> str:
    sizes = "; ".join(
        f"{test_title(test)}: {count} utterances" + (" over all folds" if results.folds else "")
        for test in results.tests if (count := _utterances(results, test))
    )
    return f"Classes: {', '.join(results.classes)}. Figures: {runs_line(results)}. Test sets: {sizes}."


def _utterances(results: Results, test: str) -> int:
    by_fold = {
        fold: score.record["utterances"]
        for (_, name), cell in results.cells.items() if name == test for (fold, _), score in cell.scores.items()
    }
    return sum(by_fold.values())


def _missing_markdown(results: Results) -> str:
    if not results.notes:
        return ""
    return "\n".join(f"- {note.replace('*', chr(92) + '*')}" for note in results.notes)


def _significance_text(results: Results) -> str:
    pooled = "with the folds of a seed pooled, " if results.folds else ""
    text = (
        f"Weighted F1 {pooled}averaged over seeds, with a 95 % bootstrap interval over speakers ({RESAMPLES} "
        "resamples, percentiles); the difference to No CP on the same utterances with its own interval; and p, "
        "two-sided, of a paired randomisation test that exchanges the outputs of whole speakers (every exchange up to "
        "14 speakers). p is not corrected for making several comparisons. Neither covers the spread over seeds, which "
        "the ± of the tables above shows. Cells that lack runs have no interval."
    )
    speakers = [found.speakers for test in results.tests for found in results.significance(test).values()]
    if speakers and min(speakers) < _FEW_SPEAKERS:
        text += (
            f" **With {min(speakers)} speakers the intervals are too narrow, and p cannot be below "
            f"{2 / 2 ** min(speakers):.2g}.**"
        )
    return text


def _significance_table(results: Results, test: str) -> Table:
    rows = []
    for condition in results.conditions:
        found = results.significance(test).get(condition)
        if found:
            low, high = found.f1_interval
            figures = [f"{found.f1:.1f} [{low:.1f}, {high:.1f}]", "—", "—"]
            if found.p is not None:
                low, high = found.difference_interval
                p = f"{found.p:.3f}" if found.p >= 0.001 else f"{found.p:.1g}"
                figures[1:] = [f"{found.difference:+.1f} [{low:+.1f}, {high:+.1f}]", p]
        else:
            figures = ["lacks runs", "—", "—"]
        rows.append((TRAIN_DATA[condition.train_data], condition.init, SCHEMES[condition.scheme], *figures))
    return Table(
        f"Against No CP, {test_title(test)}",
        ("Training data", "Init", "Scheme", "Weighted F1 [95 %]", "Difference to No CP [95 %]", "p"), rows, labels=3,
    )


def _measures(results: Results) -> dict[str, Callable[[dict[str, Any]], float]]:
    return {
        "weighted_f1": weighted_f1_of,
        "uar": itemgetter("uar"),
        "accuracy": itemgetter("accuracy"),
        **{f"f1_{name}": partial(class_f1_of, name) for name in results.classes},
    }


def _measure_tables(results: Results) -> list[Table]:
    """UAR, accuracy and the F1 of each class, one table per test set, a row per condition."""
    measures = list(_measures(results).values())[1:]
    header = ("Training data", "Init", "Scheme", "UAR", "Accuracy", *(f"F1 {name}" for name in results.classes))
    return [
        Table(f"UAR, accuracy and F1 of each class (%), {test_title(test)}", header, [
            (TRAIN_DATA[condition.train_data], condition.init, SCHEMES[condition.scheme],
             *(results.cell(condition, test).estimate(measure).text() for measure in measures))
            for condition in results.conditions
        ], labels=3)
        for test in results.tests
    ]


def _plot_confusion(results: Results, path: Path, train_data: str, init: str, test: str) -> bool:
    cells = [(scheme, results.cell(Condition(train_data, scheme, init), test)) for scheme in results.schemes]
    cells = [(scheme, cell) for scheme, cell in cells if cell.scores]
    if not cells:
        return False

    def title(scheme: str, cell: Cell) -> str:
        return SCHEMES[scheme] + ("" if cell.complete else f" ({len(cell.scores)}/{len(cell.expected)} runs)*")

    plots.confusion_matrices(
        path, f"{results.recipe}, {TRAIN_DATA[train_data]}, {init}, {test_title(test)}",
        [title(*cell) for cell in cells], [cell.confusion() for _, cell in cells], results.classes,
    )
    return True


def _paper_marks(paper: dict[str, Any], corpus: str | None) -> dict[tuple[str, Condition], float]:
    """The paper's weighted F1 of a corpus by test set and condition."""
    return {
        (table["test"], Condition(row["train_data"], scheme, table["init"])): value
        for table in paper["tables"] if table["table"] != 4
        for row in table["rows"] if row["corpus"] == corpus
        for scheme, value in row["f1"].items()
    }


def _bars(
    results: Results, test: str, marks: dict[tuple[str, Condition], float], schemes: Sequence[str] | None = None,
    prefix: str = "",
) -> plots.Bars:
    """One panel: a group per training data and initialisation, a bar per scheme."""
    schemes = schemes or results.schemes
    arrays = {name: np.full((len(results.rows), len(schemes)), np.nan) for name in ("values", "low", "high", "marks")}
    incomplete = np.zeros((len(results.rows), len(schemes)), dtype=bool)
    for row, (train_data, init) in enumerate(results.rows):
        for column, scheme in enumerate(schemes):
            condition = Condition(train_data, scheme, init)
            estimate = results.cell(condition, test).estimate(weighted_f1_of)
            if estimate.mean is not None:
                arrays["values"][row, column] = estimate.mean
                incomplete[row, column] = not estimate.complete
            found = results.significance(test).get(condition)
            if found:
                arrays["low"][row, column], arrays["high"][row, column] = found.f1_interval
            kind = Condition(train_data, scheme, "random" if init == "random" else "xvector")
            arrays["marks"][row, column] = marks.get((test, kind), math.nan)
    groups = [f"{prefix}{TRAIN_DATA[train_data]}\n{init}" for train_data, init in results.rows]
    return plots.Bars(
        test_title(test), groups,
        arrays["values"], arrays["low"], arrays["high"], incomplete, arrays["marks"],
    )


def _paper_row(table: dict[str, Any], row: dict[str, Any], init: str, results: Results) -> list[PaperCell]:
    if "class" in row and row["class"] not in results.classes:
        raise SerError(
            f"{results.exp_dir}: has the classes {' '.join(results.classes)}, not {row['class']} of the paper's "
            f"Table {table['table']}; is it really {row['corpus']}?"
        )
    figure = partial(class_f1_of, row["class"]) if "class" in row else weighted_f1_of
    return [
        PaperCell(
            table["table"], row["row"], row["corpus"], condition, row.get("class"),
            row.get("f1", {}).get(condition.scheme), results.cell(condition, table["test"]).estimate(figure),
        )
        for condition in (Condition(row["train_data"], scheme, init) for scheme in SCHEMES)
    ]


def _paper_lines(labels: list[str], cells: list[PaperCell], row: dict[str, Any]) -> list[list[str]]:
    """Ours, the paper's and the difference; like the paper, the best scheme shows what it gains on No CP."""
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


def _paper_section(paper: dict[str, Any], tables: list[Table]) -> list[str]:
    notes = {f"Table {table['table']}:": table["note"] for table in paper["tables"] if "note" in table}
    parts = [
        f"The paper's values are those of {paper['source']}. In parentheses, as there, the gain of the best scheme on "
        "No CP. A dash is a cell without any run; * marks cells that lack some."
    ]
    for table in tables:
        parts.append(table.markdown())
        parts += [note for start, note in notes.items() if table.title.startswith(start)]
    return parts


# ---- CSV

_SUMMARY_COLUMNS = (
    "test", "train_data", "init", "scheme", "runs", "expected_runs", "measure", "mean", "standard_deviation"
)
_SIGNIFICANCE_COLUMNS = (
    "test", "train_data", "init", "scheme", "speakers", "weighted_f1", "low", "high", "difference_to_none",
    "difference_low", "difference_high", "p",
)
_RUN_COLUMNS = (
    "test", "train_data", "init", "scheme", "fold", "seed", "utterances", "weighted_f1", "uar", "accuracy",
    "checkpoint", "epoch", "dev_weighted_f1",
)
_PAPER_COLUMNS = (
    "table", "row", "corpus", "train_data", "init", "scheme", "class", "ours", "standard_deviation", "runs",
    "expected_runs", "paper", "difference",
)


def _summary_fields(results: Results) -> Iterable[tuple[Any, ...]]:
    for test in results.tests:
        for condition in results.conditions:
            for measure, figure in _measures(results).items():
                estimate = results.cell(condition, test).estimate(figure)
                yield (
                    test, condition.train_data, condition.init, condition.scheme, estimate.runs, estimate.expected,
                    measure, estimate.mean, estimate.std,
                )


def _significance_fields(results: Results) -> Iterable[tuple[Any, ...]]:
    for test in results.tests:
        for condition, found in results.significance(test).items():
            yield (
                test, condition.train_data, condition.init, condition.scheme, found.speakers, found.f1,
                *found.f1_interval, found.difference, *(found.difference_interval or (None, None)),
                None if found.p is None else f"{found.p:.6g}",
            )


def _run_fields(results: Results) -> Iterable[tuple[Any, ...]]:
    for test in results.tests:
        for condition in results.conditions:
            scores = results.cell(condition, test).scores
            for fold, seed in sorted(scores, key=lambda key: (key[0] or 0, key[1])):
                record = scores[fold, seed].record
                checkpoint = record["checkpoint"]
                yield (
                    test, condition.train_data, condition.init, condition.scheme, fold, seed, record["utterances"],
                    *(100 * record[name] for name in ("weighted_f1", "uar", "accuracy")),
                    checkpoint["path"], checkpoint["epoch"], 100 * checkpoint["dev_weighted_f1"],
                )


def _paper_fields(cell: PaperCell) -> tuple[Any, ...]:
    return (
        cell.table, cell.row, cell.corpus, cell.condition.train_data, cell.condition.init, cell.condition.scheme,
        cell.label, cell.ours.mean, cell.ours.std, cell.ours.runs, cell.ours.expected, cell.paper, cell.difference,
    )


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Figures with 4 decimals; None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow("" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row)
    write_text(path, text.getvalue())
    return path
