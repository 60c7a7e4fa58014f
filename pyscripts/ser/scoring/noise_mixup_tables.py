"""The tables of the noise mix-up paper with our figures beside the paper's, as data.

The paper's numbers are in `conf/noise-mixup_tables.json`. Ours are those of runs of the tag `paper` where an experiment
folder has any, else of runs without a tag.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ser.scoring.csv_files import Columns, write_csv
from ser.scoring.metrics import weighted_precision, weighted_recall
from ser.scoring.paper_tables import read_numbers
from ser.scoring.result_tables import ResultTable
from ser.scoring.results import TRAIN_DATA, Cell, Condition, Results, tag_of_tables, test_title

SYSTEM = "spectrogram"


def _of_counts(measure: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, Any]], float]:
    return lambda record: float(measure(np.array(record["confusion"])))


# The columns of Tables 5 and 6, from the content of score.json. The paper's UAcc is the plain accuracy.
FIGURES: dict[str, Callable[[dict[str, Any]], float]] = {
    "UAcc": lambda record: record["accuracy"],
    "WavgPr": _of_counts(weighted_precision),
    "WavgR": _of_counts(weighted_recall),
    "Wavgf1": lambda record: record["weighted_f1"],
}


_CSV_COLUMNS: Columns = {
    "set": lambda cell: cell.row.of.name,
    "split": lambda cell: cell.row.of.split,
    **{name: lambda cell, name=name: getattr(cell.row.condition, name)
       for name in ("model", "train_data", "scheme", "init")},
    "test": lambda cell: cell.row.test,
    **{name: attrgetter(name) for name in ("figure", "best_fold", "mean", "standard_deviation")},
    "complete": lambda cell: str(cell.row.complete).lower(),
}


@dataclass(frozen=True, eq=False)
class SetResults:
    """What was trained on one set of blocks (`name`, such as iemocap-ahsn) by one split.

    `counts` are class, utterances, utterances with a block, and blocks; `leak` says what the split leaks, `noise` which
    noise was mixed in.
    """

    name: str
    split: str
    results: Results
    counts: Sequence[tuple[str, int, int, int]]
    leak: str
    noise: str

    @property
    def rows(self) -> list[Condition]:
        """The conditions that stand in the tables."""
        tag = tag_of_tables(self.results.conditions)
        return [row for row in self.results.conditions if row.tag == tag and not row.is_baseline]

    @property
    def tests(self) -> list[str]:
        """The clean test, and the noisy ones from the highest SNR down: of blocks, not of whole utterances."""
        return [test for test in self.results.tests if test == "test" or test_title(test).endswith(" dB test")]


@dataclass(frozen=True)
class Row:
    """The figures of one condition on one test, in per cent, in the order of `FIGURES`; None where there are no runs.

    `best` are those of the fold that was best on its validation set, averaged over seeds, None where folds have other
    test sets; `mean` and `deviation` are over all folds and seeds.
    """

    of: SetResults
    condition: Condition
    test: str
    best: np.ndarray | None
    mean: np.ndarray | None
    deviation: np.ndarray | None
    complete: bool

    @classmethod
    def read(cls, of: SetResults, condition: Condition, test: str) -> Row:
        cell = of.results.cell(condition, test)
        if not cell.scores:
            return cls(of, condition, test, None, None, None, False)
        values = np.array([_figures(score.record) for score in cell.scores.values()])
        deviation = values.std(axis=0, ddof=1) if len(values) > 1 else None
        best = _best_on_validation(cell) if of.split == "segment" else None
        return cls(of, condition, test, best, values.mean(axis=0), deviation, cell.complete)

    def cells(self) -> list[str]:
        """Return mean ± deviation of every figure."""
        if self.mean is None:
            return ["—"] * len(FIGURES)
        spread = [""] * len(FIGURES) if self.deviation is None else [f" ± {value:.2f}" for value in self.deviation]
        end = "" if self.complete else "*"
        return [f"{mean:.2f}{more}{end}" for mean, more in zip(self.mean, spread, strict=True)]


def _figures(record: dict[str, Any]) -> list[float]:
    return [100 * figure(record) for figure in FIGURES.values()]


def _best_on_validation(cell: Cell) -> np.ndarray:
    """Return the figures, averaged over seeds, of each seed's fold with the highest validation accuracy."""

    def validation(key: tuple[int | None, int]) -> float:
        return cell.scores[key].record["checkpoint"].get("dev_accuracy", 0.0)

    by_seed = groupby(sorted(cell.scores, key=lambda key: key[1]), key=lambda key: key[1])
    return np.mean([_figures(cell.scores[max(keys, key=validation)].record) for _, keys in by_seed], axis=0)


def read_paper(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the numbers of the paper.

    Raises:
        SerError: the file is missing or not whole.
    """
    def check(paper: dict[str, Any]) -> None:
        if {"source", "sets", "counts", "results"} - paper.keys():
            raise KeyError("source, sets, counts or results")

    return read_numbers(path, check)


def noise_mixup_tables(paper: Mapping[str, Any], sets: Sequence[SetResults]) -> tuple[list[ResultTable], list[Row]]:
    """Make the paper's Tables 2, 3, 5 and 6, the comparison of its Figure 6, and what a random split is worth."""
    rows = [Row.read(one, condition, test) for one in sets for condition in one.rows for test in one.tests]
    tables = [_counts_table(paper, one) for _, (one, *_) in groupby(sets, key=attrgetter("name"))]
    tables += [_results_table(paper, table, rows) for table in paper["results"]]
    tables += [_comparison_table(paper, rows)]
    if any(one.split == "segment" for one in sets) and any(one.split == "speaker" for one in sets):
        tables.append(_leak_table(paper, sets, rows))
    return tables, rows


def write_noise_mixup_csv(path: Path, rows: Sequence[Row]) -> Path:
    """Write every figure of every row, in per cent, a line each."""
    def cells() -> Iterator[SimpleNamespace]:
        for row in rows:
            for number, figure in enumerate(FIGURES):
                numbers = {name: values if values is None else float(values[number]) for name, values in
                           (("best_fold", row.best), ("mean", row.mean), ("standard_deviation", row.deviation))}
                yield SimpleNamespace(row=row, figure=figure, **numbers)

    return write_csv(path, _CSV_COLUMNS, cells())


def is_of(train_data: str, row: Condition) -> bool:
    """Return whether a row was trained on this training data, whatever its noise."""
    return row.kinds == train_data.split("+")


def _title(paper: Mapping[str, Any], name: str) -> str:
    return paper["sets"].get(name, name)


def _counts_table(paper: Mapping[str, Any], one: SetResults) -> ResultTable:
    printed = paper["counts"].get(one.name, {"classes": {}})
    copies = len(one.tests)
    lines = []
    for label, utterances, with_blocks, blocks in one.counts:
        theirs = printed["classes"].get(label)
        lines.append([label, str(utterances), str(with_blocks), str(blocks), str(copies * blocks),
                      *(map(str, theirs) if theirs else ["—"] * 3)])
    sums = zip(*(map(int, line[1:5]) for line in lines), strict=True)
    theirs = zip(*printed["classes"].values(), strict=True) if printed["classes"] else [["—"]] * 3
    lines.append(["total", *(str(sum(column)) for column in sums),
                  *(str(sum(column)) if "—" not in column else "—" for column in theirs)])
    number = f"Table {printed['table']}" if printed["classes"] else "As Tables 2 and 3"
    header = ("Class", "Utterances", "with a block", "Blocks", "Clean and noisy", "Paper: utterances", "original",
              "overall")
    return ResultTable(f"{number}: {_title(paper, one.name)}, utterances and blocks", header, lines, 1,
                       [printed["note"]] if "note" in printed else [])


def _results_table(paper: Mapping[str, Any], table: Mapping[str, Any], rows: Sequence[Row]) -> ResultTable:
    lines: list[list[str]] = []
    for row in rows:
        if not row.condition.features.startswith(SYSTEM) or not is_of(table["train_data"], row.condition):
            continue
        labels = [_title(paper, row.of.name), row.of.split, row.condition.model, row.condition.init,
                  test_title(row.test)]
        if row.best is not None:
            lines.append([*labels, "ours, best fold", *(f"{value:.2f}" for value in row.best)])
            labels = [""] * len(labels)
        lines.append([*labels, "ours, mean", *row.cells()])
        printed = table["figures"].get(row.of.name, {}).get(row.test)
        if printed and row.of.split == "segment":
            lines.append([""] * len(labels) + ["paper", *(f"{value:.2f}" for value in printed)])
    return ResultTable(
        f"Table {table['table']}: {table['title']} (%)", ("Set", "Split", "Model", "Init", "Test", "", *FIGURES), lines,
        6, ["The best fold is the one with the highest accuracy on its validation set, as in the paper; the mean ± "
            "standard deviation is over all folds and seeds. The paper has no split by speaker."],
    )


def _comparison_table(paper: Mapping[str, Any], rows: Sequence[Row]) -> ResultTable:
    tests = list(dict.fromkeys(row.test for row in rows))
    lines = []
    for (one, condition), found in groupby(rows, key=lambda row: (row.of, row.condition)):
        of_test = {row.test: row.cells()[-1] for row in found}
        data = condition.train_title
        name = condition.model if condition.scheme == "none" else f"{condition.model}, {condition.scheme}"
        lines.append([_title(paper, one.name), one.split, f"{name} ({condition.init})", data,
                      *(of_test.get(test, "—") for test in tests)])
    for name in dict.fromkeys(row.of.name for row in rows if row.of.split == "segment"):
        printed = [(table, table["figures"][name]) for table in paper["results"] if name in table["figures"]]
        lines += [[_title(paper, name), "segment", "paper", TRAIN_DATA[table["train_data"]],
                   *(f"{figures[test][-1]:.2f}" if test in figures else "—" for test in tests)]
                  for table, figures in printed]
    return ResultTable(
        "Figures 4 to 6: Wavgf1 (%), mean over folds and seeds, with CopyPaste on the same blocks",
        ("Set", "Split", "Model", "Training data", *map(test_title, tests)), lines, 4,
        ["Figure 6 compares with CopyPaste, which is trained here on the same blocks and split, and with the method of "
         "Tiwari et al., which the paper cites without saying how it was made: it is not built. Figure 6's own numbers "
         "are lost."],
    )


def _leak_table(paper: Mapping[str, Any], sets: Sequence[SetResults], rows: Sequence[Row]) -> ResultTable:
    found = {(row.of.name, row.condition, row.test, row.of.split): row for row in rows}
    lines = []
    for name, condition, test in dict.fromkeys(key[:3] for key in found):
        pair = [found.get((name, condition, test, split)) for split in ("segment", "speaker")]
        if not all(row is not None and row.mean is not None for row in pair):
            continue
        numbers = [pair[0].mean[column] - pair[1].mean[column] for column in (0, -1)]
        scheme = "" if condition.scheme == "none" else f", {condition.scheme}"
        lines.append([_title(paper, name), f"{condition.model}{scheme}",
                      condition.train_title, test_title(test),
                      pair[0].cells()[0], pair[1].cells()[0], *(f"{number:+.2f}" for number in numbers)])
    return ResultTable(
        "What a random split is worth: segment minus speaker split, points",
        ("Set", "Model", "Training data", "Test", "UAcc, segment", "UAcc, speaker", "UAcc", "Wavgf1"), lines, 4,
        [f"{_title(paper, one.name)}, {one.split} split: {one.leak}" for one in sets],
    )
