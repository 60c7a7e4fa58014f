"""Write reports, of one corpus or of a paper's tables over several: Markdown, CSV files and figures."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser.augment.copypaste import SCHEMES
from ser.augment.dilution import DILUTED_TEST
from ser.base.files import write_text
from ser.scoring import plots
from ser.scoring.csv_files import write_csv_files, write_paper_csv
from ser.scoring.paper_tables import paper_marks, paper_tables
from ser.scoring.result_tables import (
    Labels,
    ResultTable,
    baseline_sentences,
    measure_tables,
    significance_table,
    summary_table,
    weighted_f1_of,
)
from ser.scoring.results import Condition, Results, test_title
from ser.scoring.significance import RESAMPLES

_FEW_SPEAKERS = 10
_CHART_LEGEND = "Lines on the bars are 95 % intervals over speakers; {marks}hatched bars lack runs."
_MARKS_LEGEND = "dotted marks are the paper's values; "


def write_corpus_report(
    results: Results, out_dir: str | os.PathLike[str], paper: Mapping[str, Any], paper_corpus: str | None
) -> list[Path]:
    """Write the report of one corpus: `report.md`, the CSV files and the figures; return what was written.

    `paper_corpus` is the corpus of the paper to compare with, None for none.
    """
    out = Path(out_dir)
    labels = Labels.of(results.rows)
    written = [out / "report.md", out / "weighted_f1.png", out / "weighted_f1.svg"]
    marks = paper_marks(paper, paper_corpus, results)
    for path in written[1:]:
        panels = [_bars(results, test, marks, results.schemes, labels) for test in results.tests]
        plots.bar_chart(path, panels, [SCHEMES[scheme] for scheme in results.schemes], "weighted F1 (%)")
    parts = [f"# {results.recipe}: results", _introduction(results), "## Weighted F1"]
    parts += [
        summary_table(results).markdown(),
        "\n".join(f"- {sentence}" for sentence in baseline_sentences(results)),
        _notes_markdown(results),
        "![Weighted F1](weighted_f1.png)", _CHART_LEGEND.format(marks=_MARKS_LEGEND if paper_corpus else ""),
        "## Intervals and tests", _significance_text(results),
        *(significance_table(results, test).markdown() for test in results.tests),
        "## Other measures", *(table.markdown() for table in measure_tables(results)),
        "## Confusion matrices", "Rows are the reference; counts are summed over the runs.",
    ]
    for test in results.tests:
        for row in results.rows:
            name = "_".join(filter(None, ("confusion", test, row.model, row.train_data, row.init, row.tag))) + ".png"
            title = ", ".join(filter(None, labels(row)))
            if _plot_confusion(results, out / name, row, test, title):
                parts.append(f"![Confusion, {test_title(test)}, {title}]({name})")
                written.append(out / name)
    if paper_corpus:
        tables, cells = paper_tables(paper, {paper_corpus: results})
        parts += ["## Against the paper", *_paper_section(paper, tables)]
        written.append(write_paper_csv(out / "paper.csv", cells))
    written += write_csv_files(out, results)
    write_text(out / "report.md", "\n\n".join(filter(None, parts)) + "\n")
    return written


def write_overall_report(
    corpora: Mapping[str, Results], out_dir: str | os.PathLike[str], paper: Mapping[str, Any]
) -> list[Path]:
    """Write the tables of the paper over several corpora: `overall.md`, `overall.csv` and `overall.png`."""
    out = Path(out_dir)
    tables, cells = paper_tables(paper, corpora)
    titles = {name: paper["corpora"].get(name, name) for name in corpora}
    parts = ["# All corpora: results"]
    parts += [f"{titles[name]}: {runs_line(results)}." for name, results in corpora.items()]
    parts += _paper_section(paper, tables)
    parts += [f"{name}:\n\n{notes}" for name, results in corpora.items() if (notes := _notes_markdown(results))]
    labels = Labels.of(row for results in corpora.values() for row in results.rows)
    panels = []
    for test in dict.fromkeys(test for results in corpora.values() for test in results.tests):
        bars = [
            _bars(results, test, paper_marks(paper, name, results), paper["schemes"], labels, f"{titles[name]}\n")
            for name, results in corpora.items()
        ]
        arrays = ("values", "low", "high", "partial", "marks")
        panels.append(plots.Bars(
            test_title(test), [group for bar in bars for group in bar.groups],
            *(np.concatenate([getattr(bar, array) for bar in bars]) for array in arrays),
        ))
    schemes = [SCHEMES[scheme] for scheme in paper["schemes"]]
    plots.bar_chart(out / "overall.png", panels, schemes, "weighted F1 (%)")
    parts += ["![Weighted F1](overall.png)", _CHART_LEGEND.format(marks=_MARKS_LEGEND)]
    write_paper_csv(out / "overall.csv", cells)
    write_text(out / "overall.md", "\n\n".join(parts) + "\n")
    return [out / "overall.md", out / "overall.csv", out / "overall.png"]


def runs_line(results: Results) -> str:
    """Say which runs a complete cell has."""
    seeds = " ".join(map(str, results.seeds))
    folds = ""
    if results.folds:
        listed = " ".join(map(str, results.folds))
        folds = f", mean of folds {listed}" if len(results.folds) > 1 else f", fold {listed}"
    spread = "mean ± standard deviation over seeds" if len(results.seeds) > 1 else "seed"
    return f"{spread} {seeds}{folds}"


def _introduction(results: Results) -> str:
    sizes = "; ".join(
        f"{test_title(test)}: {count} utterances" + (" over all folds" if results.folds else "")
        for test in results.tests if (count := _utterances(results, test))
    )
    text = f"Classes: {', '.join(results.classes)}. Figures: {runs_line(results)}. Test sets: {sizes}."
    if DILUTED_TEST in results.tests:
        text += (" In the diluted test every utterance of the clean one is joined, before or after, to a neutral one "
                 "of its speaker and keeps its label; neutral ones are joined too, so that length tells nothing.")
    return text


def _utterances(results: Results, test: str) -> int:
    by_fold = {
        fold: score.record["utterances"]
        for (_, name), cell in results.cells.items() if name == test for (fold, _), score in cell.scores.items()
    }
    return sum(by_fold.values())


def _notes_markdown(results: Results) -> str:
    return "\n".join(f"- {note.replace('*', chr(92) + '*')}" for note in results.notes)


def _significance_text(results: Results) -> str:
    pooled = "with the folds of a seed pooled, " if results.folds else ""
    text = (
        f"Weighted F1 {pooled}averaged over seeds, with a 95 % bootstrap interval over speakers ({RESAMPLES} "
        "resamples, percentiles); the difference to No CP on the same utterances with its own interval, and where "
        "there are copies, to training on clean data alone; and p, two-sided, of a paired randomisation test that "
        "exchanges the outputs of whole speakers (every exchange up to 14 speakers). p is not corrected for making "
        "several comparisons. Neither covers the spread over seeds, which the ± of the tables above shows. Cells that "
        "lack runs have no interval."
    )
    if any(condition.is_baseline for condition in results.conditions):
        text += (
            " The baseline is a support vector machine on functionals (means, percentiles and the like) of the same "
            "features; it is trained on the same utterances, is the same for every seed, and so has no ±."
        )
    speakers = [found.speakers for test in results.tests for found in results.significance(test).values()]
    if speakers and min(speakers) < _FEW_SPEAKERS:
        text += (
            f" **With {min(speakers)} speakers the intervals are too narrow, and p cannot be below "
            f"{2 / 2 ** min(speakers):.2g}.**"
        )
    return text


def _plot_confusion(results: Results, path: Path, row: Condition, test: str, title: str) -> bool:
    """Plot the confusion matrices of a row; False where it has no runs."""
    cells = {scheme: results.cell(row.of_scheme(scheme), test) for scheme in results.schemes}
    cells = {scheme: cell for scheme, cell in cells.items() if cell.scores}
    if cells:
        plots.confusion_matrices(
            path, f"{results.recipe}, {title}, {test_title(test)}",
            [SCHEMES[scheme] + ("" if cell.complete else f" ({len(cell.scores)}/{len(cell.expected)} runs)*")
             for scheme, cell in cells.items()],
            [cell.confusion() for cell in cells.values()], results.classes,
        )
    return bool(cells)


def _bars(
    results: Results, test: str, marks: Mapping[tuple[str, Condition], float], schemes: Sequence[str], labels: Labels,
    prefix: str = "",
) -> plots.Bars:
    """Make one panel: a group for each row of the tables, a bar for each scheme."""
    rows = results.rows
    shape = len(rows), len(schemes)
    values, low, high, drawn = (np.full(shape, np.nan) for _ in range(4))
    partial = np.zeros(shape, dtype=bool)
    for place in np.ndindex(shape):
        condition = rows[place[0]].of_scheme(schemes[place[1]])
        estimate = results.cell(condition, test).estimate(weighted_f1_of)
        if estimate.mean is not None:
            values[place], partial[place] = estimate.mean, not estimate.complete
        if found := results.significance(test).get(condition):
            low[place], high[place] = found.f1_interval
        drawn[place] = marks.get((test, condition), math.nan)
    groups = [prefix + "\n".join(filter(None, labels(row))) for row in rows]
    return plots.Bars(test_title(test), groups, values, low, high, partial, drawn)


def _paper_section(paper: Mapping[str, Any], tables: Sequence[ResultTable]) -> list[str]:
    notes = {f"Table {table['table']}:": table["note"] for table in paper["tables"] if "note" in table}
    parts = [
        f"The paper's values are those of {paper['source']}; ours are those of {paper['model']}, of its runs tagged "
        "`paper` where there are any. In parentheses, as there, the gain of the best scheme on No CP. A dash is a cell "
        "without any run; * marks cells that lack some."
    ]
    for table in tables:
        parts.append(table.markdown())
        parts += [note for start, note in notes.items() if table.title.startswith(start)]
    return parts
