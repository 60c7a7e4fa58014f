"""The tables of one corpus, as data: weighted F1, intervals and tests, other measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, itemgetter
from typing import Any

from ser.augment.copypaste import SCHEMES
from ser.scoring.metrics import MEASURES
from ser.scoring.predictions import recordings_used
from ser.scoring.results import Condition, Difference, Results, Significance, test_title

Figure = Callable[[dict[str, Any]], float]  # a figure of the content of score.json


@dataclass(frozen=True)
class ResultTable:
    """A titled table of strings; the first `labels` columns are row labels, the others figures. Notes follow it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: int
    notes: Sequence[str] = ()

    def text(self) -> str:
        """Return the table with aligned columns, for a terminal."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        shown = [
            "  ".join(
                cell.ljust(width) if column < self.labels else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, shown[0], "-" * max(map(len, shown)), *shown[1:], *self.notes])

    def markdown(self) -> str:
        ruler = ["---" if column < self.labels else "---:" for column in range(len(self.header))]
        lines = [self.header, ruler, *([cell.replace("*", "\\*") for cell in row] for row in self.rows)]
        table = "\n".join([f"**{self.title}**", "", *("| " + " | ".join(line) + " |" for line in lines)])
        return "\n\n".join([table, *self.notes])


@dataclass(frozen=True)
class Labels:
    """The columns that tell the rows of a table apart; model and tag only where they differ."""

    columns: dict[str, Callable[[Condition], str]]

    @classmethod
    def of(cls, rows: Iterable[Condition]) -> Labels:
        rows = list(rows)
        columns = {
            "Model": attrgetter("model"),
            "Trained on": lambda row: row.trained_on or "this corpus",
            "Training data": attrgetter("train_title"),
            "Init": attrgetter("init"),
            "Tag": attrgetter("tag"),
        }
        always = ["Training data", "Init"] + ["Trained on"] * any(row.trained_on for row in rows)
        return cls({name: get for name, get in columns.items() if name in always or len(set(map(get, rows))) > 1})

    def __call__(self, row: Condition) -> list[str]:
        return [get(row) for get in self.columns.values()]


weighted_f1_of: Figure = itemgetter("weighted_f1")
_BESIDE = {"accuracy": "WA", "uar": "UA"}  # measures that papers give, by the names that they have there


def class_f1_of(name: str) -> Figure:
    """Return the F1 of a class; NaN where the network does not know that class, and was not tested on it."""
    return lambda record: math.nan if name in record["unknown_classes"] else record["per_class"][name]["f1"]


def figures(classes: Sequence[str]) -> dict[str, tuple[str, Figure]]:
    """Return heading and function of every figure of a test set: all measures, then the F1 of each class."""
    measures = {name: (measure.heading, itemgetter(name)) for name, measure in MEASURES.items()}
    return measures | {f"f1_{name}": (f"F1 {name}", class_f1_of(name)) for name in classes}


def summary_table(results: Results) -> ResultTable:
    """Make the table of weighted F1, with a row per condition and a column per test set, and more of the first of them.
    """
    first, *_ = results.tests
    sizes = {condition: results.cell(condition, first).train_utterances for condition in results.conditions}
    known = any(size is not None for size in sizes.values())

    def cells(condition: Condition) -> list[str]:
        size = "—" if sizes[condition] is None else f"{sizes[condition]:.0f}"
        found = [results.cell(condition, test).estimate(weighted_f1_of) for test in results.tests]
        found += [results.cell(condition, first).estimate(itemgetter(name)) for name in _BESIDE]
        return [size] * known + [estimate.text() for estimate in found]

    header = ["Utterances"] * known + [test_title(test) for test in results.tests] + list(_BESIDE.values())
    note = f"WA is the accuracy on the {test_title(first)}, UA the mean recall of its classes."
    if known:
        note += f" Utterances are those trained on, with all copies{' (mean over folds)' if results.folds else ''}."
    table = _condition_table("Weighted F1 (%)", results, results.tests, header, cells)
    return replace(table, notes=[*table.notes, note])


def normalisation_notes(results: Results, tests: Sequence[str]) -> list[str]:
    """Say which models of a table of test sets were given other recordings of the test speakers, and what is without.
    """
    notes = []
    for model, plain in dict.fromkeys((row.model, row.not_by_speaker.model) for row in results.rows):
        if over := {speaker: number for test in tests
                    for speaker, number in results.normalised_over(model, test).items()}:
            beside = any(row.model == plain and found.scores for (row, name), found in results.cells.items()
                         if name in tests)
            of_encoder = model.startswith("encoder-")
            what, cmn = ("hidden states as they are", "none") if of_encoder else ("sliding means", "sliding")
            notes.append(
                f"{model}: features are normalised over the test speakers' own recordings, without labels "
                f"({recordings_used(over)}). "
                + (f"{plain} is with {what}, which need none." if beside
                   else f"No runs with {what}, which need none, stand beside it (--cmn {cmn}).")
            )
    return notes


def measure_tables(results: Results) -> list[ResultTable]:
    """Make a table of all other figures per test set, with a row per condition."""
    shown = {name: figure for name, figure in figures(results.classes).items() if name != "weighted_f1"}
    titles = ", ".join(MEASURES[name].title for name in shown if name in MEASURES)
    return [
        _condition_table(
            f"{titles} and F1 of each class (%), {test_title(test)}", results, [test],
            [heading for heading, _ in shown.values()],
            lambda condition, test=test: [
                results.cell(condition, test).estimate(figure).text() for _, figure in shown.values()
            ],
        )
        for test in results.tests
    ]


def significance_table(results: Results, test: str) -> ResultTable:
    """Make the table of intervals and tests, a row per condition.

    They are against No CP, and where there are such runs, against training on clean data alone and the baseline.
    """
    known = results.significance(test)
    others: dict[str, Callable[[Significance], Difference | None]] = {"No CP": lambda found: found.to_none}
    if any(found.to_clean for found in known.values()):
        others["clean training"] = lambda found: found.to_clean
    if any(condition.is_baseline for condition in results.conditions):
        others["the baseline"] = lambda found: found.to_baseline

    def cells(condition: Condition) -> list[str]:
        if (found := known.get(condition)) is None:
            return ["lacks runs", *["—"] * 2 * len(others)]
        low, high = found.f1_interval
        differences = (_shown(of(found)) for of in others.values())
        return [f"{found.f1:.1f} [{low:.1f}, {high:.1f}]", *(text for each in differences for text in each)]

    header = ["Weighted F1 [95 %]", *(cell for name in others for cell in (f"Difference to {name} [95 %]", "p"))]
    *first, last = others
    title = f"Against {', '.join(first)} and {last}" if first else f"Against {last}"
    return _condition_table(f"{title}, {test_title(test)}", results, [test], header, cells)


def baseline_sentences(results: Results) -> list[str]:
    """Say of each row, without CopyPaste if it has such runs, whether it beats the baseline on the first test set."""
    test, sentences = results.tests[0], {}
    for condition, found in results.significance(test).items():
        if found.to_baseline and condition.of_scheme("none") not in sentences:
            above, sure = found.to_baseline.points > 0, found.to_baseline.interval[0] > 0
            verb = "beats" if sure else "is above, perhaps by chance," if above else "does not beat"
            points, p = _shown(found.to_baseline)
            sentences[condition.of_scheme("none")] = (
                f"{test_title(test).capitalize()}: {condition.name} {verb} the baseline "
                f"{results.baseline_of(condition).name}: weighted F1 {found.f1:.1f}, difference {points}, p {p}."
            )
    return list(sentences.values())


def _shown(difference: Difference | None) -> tuple[str, str]:
    """Return points with interval, and p, of a difference as tables have them."""
    if difference is None:
        return "—", "—"
    (low, high), p = difference.interval, difference.p
    return f"{difference.points:+.1f} [{low:+.1f}, {high:+.1f}]", f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"


def _condition_table(
    title: str, results: Results, tests: Sequence[str], header: Sequence[str],
    cells: Callable[[Condition], Sequence[str]],
) -> ResultTable:
    labels = Labels.of(results.rows)
    return ResultTable(
        title, (*labels.columns, "Scheme", *header),
        [(*labels(condition), SCHEMES[condition.scheme], *cells(condition)) for condition in results.conditions],
        len(labels.columns) + 1, normalisation_notes(results, tests),
    )
