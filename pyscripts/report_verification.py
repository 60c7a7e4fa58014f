#!/usr/bin/env python3
"""Make the table of every verification test scored so far.

Gathers EXP-DIR/**/trials.json (pyscripts/score_trials.py) and prints, per run and test, equal error rate and minimum
detection cost, and for several seeds (…/seed<s>/…) their mean and standard deviation; writes the same to
RESULTS/verification.md, and every figure alone to RESULTS/verification.csv.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ser.base.errors import SerError, run_main
from ser.base.files import write_text
from ser.scoring.result_tables import ResultTable


def read(path: Path, exp_dir: Path) -> dict[str, Any]:
    """Return the row of the CSV file, column by column, that a trials.json gives; the EER in per cent."""
    folders = list(path.parent.relative_to(exp_dir).parts)
    test = folders.pop().removeprefix("score_") if folders else ""
    seed = ""
    if folders and (match := re.fullmatch(r"seed(\d+)", folders[-1])):
        seed = match[1]
        folders.pop()
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {
            "run": "/".join(folders), "test": test, "seed": seed, "eer": 100 * record["eer"],
            **{name: record[name] for name in ("min_dcf", "p_target", "targets", "nontargets")},
            "epoch": (record["checkpoint"] or {}).get("epoch", ""),
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SerError(f"{path}: no record of score_trials.py ({type(error).__name__}: {error}); delete it and score "
                       "again") from None


def spread(values: list[float], digits: int) -> str:
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def table(rows: list[dict[str, Any]]) -> ResultTable:
    """Make a line of each row, and after several seeds of one run, test and cost their mean and standard deviation."""
    lines = []
    for _, group in groupby(rows, key=lambda row: (row["run"], row["test"], row["p_target"])):
        alike = list(group)
        for row in alike:
            lines.append((row["run"], row["test"], row["seed"], f"{row['eer']:.2f}", f"{row['min_dcf']:.4f}",
                          f"{row['p_target']:g}", str(row["targets"]), str(row["nontargets"])))
        if len(alike) > 1:
            lines.append((*lines[-1][:2], "mean", spread([row["eer"] for row in alike], 2),
                          spread([row["min_dcf"] for row in alike], 4), lines[-1][5], "", ""))
    header = ("Run", "Test", "Seed", "EER (%)", "minDCF", "P_target", "Targets", "Non-targets")
    return ResultTable("Speaker verification, cosine of x-vectors", header, lines, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp-dir", type=Path, default=Path("exp"), help="where to look (default: exp)")
    parser.add_argument("--out", type=Path, metavar="RESULTS", help="folder of the table (default: EXP-DIR/results)")
    args = parser.parse_args()
    rows = [read(path, args.exp_dir) for path in args.exp_dir.glob("**/trials.json")]
    if not rows:
        raise SerError(f"{args.exp_dir}: no trials.json anywhere in it; score trials first (pyscripts/score_trials.py)")
    rows.sort(key=lambda row: (row["run"], row["test"], row["p_target"], int(row["seed"] or -1)))
    made = table(rows)
    out = args.out or args.exp_dir / "results"
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "verification.csv", text.getvalue())
    write_text(out / "verification.md", made.markdown() + "\n")
    print(made.text())
    print(f"\nTable: {out / 'verification.md'} (and .csv)")


if __name__ == "__main__":
    run_main(main)
