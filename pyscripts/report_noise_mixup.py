#!/usr/bin/env python3
"""Make the tables of the noise mix-up paper, ours beside the paper's: Tables 2, 3, 5 and 6, Figures 2 and 4 to 6.

Reads experiment folders as pyscripts/report.py does, and beside each (data… for exp…) the counts, the leak and the
noise of its lists; prints the tables, and writes noise_mixup.md, noise_mixup.csv, a clean and a noisy image of each set
and a figure of each set and split.

example:
  pyscripts/report_noise_mixup.py --set ravdess segment egs/ravdess/exp_1s-segment \\
    --set ravdess speaker egs/ravdess/exp_1s --out exp/tables
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ser.base.errors import SerError, run_main
from ser.base.files import write_text
from ser.scoring import plots
from ser.scoring.collect import collect
from ser.scoring.noise_figure import draw_clean_and_noisy
from ser.scoring.noise_mixup_tables import (
    SYSTEM,
    Row,
    SetResults,
    is_of,
    noise_mixup_tables,
    read_paper,
    write_noise_mixup_csv,
)
from ser.scoring.results import TRAIN_DATA, test_title

PAPER = Path(__file__).resolve().parent.parent / "conf" / "noise-mixup_tables.json"
SPLITS = ("segment", "speaker")


def read_set(name: str, split: str, exp_dir: Path, seeds: list[int] | None) -> SetResults:
    """Read one experiment folder and what its lists say of themselves.

    Raises:
        SerError: the split is unknown, there are no scores, or no lists of blocks.
    """
    if split not in SPLITS:
        raise SerError(f"--set {name} {split}: the split is one of {', '.join(SPLITS)}")
    data, texts = data_of(exp_dir), {}
    for file in ("counts.tsv", "leak", "noise/about"):
        if not (data / file).is_file():
            raise SerError(f"{data / file}: no such file; {exp_dir} is not of blocks, or stages 0 to 2 have not run")
        texts[file] = (data / file).read_text(encoding="utf-8")
    rows = [line.split("\t") for line in texts["counts.tsv"].splitlines()[1:]]
    counts = [(row[0], *map(int, row[1:])) for row in rows]
    return SetResults(name, split, collect(exp_dir, name, seeds), counts, texts["leak"].strip(),
                      texts["noise/about"].strip())


def data_of(exp_dir: Path) -> Path:
    """Return the folder of the data that the runs of an experiment folder were made from."""
    return exp_dir.absolute().with_name(exp_dir.name.replace("exp", "data", 1))


def plot_images(path: Path, data: Path) -> str | None:
    """Draw a clean block and its copy at the tests' lowest SNR; return which it is, None where there are no images."""
    noisy = {float(folder.name.split("_")[1].removeprefix("snr")): folder for folder in data.glob("test_snr*_spec")}
    clean = [folder for name in ("all_spec", "test_spec") if (folder := data / name).is_dir()]
    return draw_clean_and_noisy(path, clean[0], noisy[min(noisy)]) if noisy and clean else None


def plot(path: Path, rows: list[Row], paper: dict) -> None:
    """Draw Wavgf1 on each test, a panel of each model and a bar of each training data, the paper's as marks."""
    models = list(dict.fromkeys(row.condition.model for row in rows))
    tests = list(dict.fromkeys(row.test for row in rows))
    panels = []
    for model in models:
        values, marks = np.full((2, len(tests), len(TRAIN_DATA)), np.nan)
        partial = np.zeros(values.shape, dtype=bool)
        for row in rows:
            for column, data in enumerate(TRAIN_DATA):
                if row.condition.model != model or row.mean is None or not is_of(data, row.condition):
                    continue
                place = tests.index(row.test), column
                values[place], partial[place] = row.mean[-1], not row.complete
                printed = paper["results"][column]["figures"].get(row.of.name, {}).get(row.test)
                if printed and row.of.split == "segment" and row.condition.features.startswith(SYSTEM):
                    marks[place] = printed[-1]
        none = np.full(values.shape, np.nan)
        panels.append(plots.Bars(model, [test_title(test) for test in tests], values, none, none, partial, marks))
    plots.bar_chart(path, panels, list(TRAIN_DATA.values()), "Wavgf1 (%)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs=3, action="append", required=True, metavar=("NAME", "SPLIT", "EXP-DIR"),
                        dest="sets", help="the paper's are iemocap-ahsn and iemocap-aesn; segment or speaker; its runs")
    parser.add_argument("--seeds", help='seeds that every cell must have, e.g. "0 1 2" (default: all that any has)')
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    args = parser.parse_args()
    seeds = [int(word) for word in args.seeds.split()] if args.seeds else None
    paper = read_paper(PAPER)
    sets = [read_set(name, split, Path(exp_dir), seeds) for name, split, exp_dir in sorted(args.sets)]
    tables, rows = noise_mixup_tables(paper, sets)
    notes = list(dict.fromkeys(f"{one.name}: {one.noise}" for one in sets))
    notes += list(dict.fromkeys(f"{one.name}, {one.split} split: {note}" for one in sets for note in one.results.notes))
    parts = ["# Noise mix-up: results", f"The paper is {paper['source']}."]
    parts += [table.markdown() for table in tables]
    args.out.mkdir(parents=True, exist_ok=True)
    for name, exp_dir in sorted({name: exp_dir for name, _, exp_dir in args.sets}.items()):
        if block := plot_images(args.out / f"images_{name}.png", data_of(Path(exp_dir))):
            parts.append(f"![Figure 2: {name}, block {block}, clean and with noise](images_{name}.png)")
    for one in sets:
        name = f"wavgf1_{one.name}_{one.split}.png"
        plot(args.out / name, [row for row in rows if row.of is one], paper)
        parts.append(f"![Wavgf1, {one.name}, {one.split} split]({name})")
    parts.append("\n".join(f"- {note.replace('*', chr(92) + '*')}" for note in notes))
    write_noise_mixup_csv(args.out / "noise_mixup.csv", rows)
    write_text(args.out / "noise_mixup.md", "\n\n".join(parts) + "\n")
    for table in tables:
        print(f"{table.text()}\n")
    print("\n".join(notes))
    print(f"\nReport: {args.out / 'noise_mixup.md'}")


if __name__ == "__main__":
    run_main(main)
