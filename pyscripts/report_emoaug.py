#!/usr/bin/env python3
"""Make Table 1 of the EmoAug paper, ours beside the paper's.

Reads experiment folders as pyscripts/report.py does; prints the table of each corpus, and writes emoaug.md and
emoaug.csv. Rows that are only quoted, or not trained, say so.

example:
  pyscripts/report_emoaug.py --set iemocap egs/iemocap/exp_merge-excited --encoder \\
    encoder-hubert-large-ll60k-finetune-linear /models/hubert-large-ll60k --out exp/tables
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.base.errors import run_main
from ser.base.files import write_text
from ser.nets.encoder_folder import find_encoder
from ser.scoring.collect import collect
from ser.scoring.emoaug_tables import Encoder, emoaug_table, read_paper, write_emoaug_csv

PAPER = Path(__file__).resolve().parent.parent / "conf" / "emoaug_tables.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs=2, action="append", required=True, metavar=("NAME", "EXP-DIR"), dest="sets",
                        help="a corpus, the paper's is iemocap; its runs")
    parser.add_argument("--encoder", nargs=2, action="append", required=True, metavar=("MODEL", "DIR"), dest="encoders",
                        help="the beginning of the names of an encoder's runs, up to the training data; its folder, or "
                             "name on the hub. The first stands in the rows of the paper's own recogniser")
    parser.add_argument("--seeds", help='seeds that every cell must have, e.g. "0 1 2" (default: all that any has)')
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    args = parser.parse_args()
    seeds = [int(word) for word in args.seeds.split()] if args.seeds else None
    paper = read_paper(PAPER)
    encoders = [Encoder(model, find_encoder(folder).kind) for model, folder in args.encoders]
    tables, rows, notes = [], [], []
    for name, exp_dir in args.sets:
        results = collect(exp_dir, name, seeds)
        table, of_set = emoaug_table(paper, results, encoders)
        tables.append(table)
        rows += of_set
        notes += [f"{name}: {note}" for note in results.notes]
    parts = ["# EmoAug: results", f"The paper is {paper['source']}.", *(table.markdown() for table in tables)]
    parts.append("\n".join(f"- {note.replace('*', chr(92) + '*')}" for note in notes))
    write_emoaug_csv(args.out / "emoaug.csv", rows)
    write_text(args.out / "emoaug.md", "\n\n".join(filter(None, parts)) + "\n")
    print("\n\n".join(table.text() for table in tables))
    print("\n".join(["", *notes, f"Report: {args.out / 'emoaug.md'}"]))


if __name__ == "__main__":
    run_main(main)
