#!/usr/bin/env python3
"""Make the tables and figures of everything scored so far.

Gathers the scores under <exp-dir>/<features>-<network>_<train data>_<scheme>_<init>[_<tag>]/[fold<k>/]seed<n>/ into
cells of weighted F1 (mean of the folds of a seed, then mean and standard deviation over seeds), prints them, and writes
Markdown, CSV, PNG and HTML files with intervals, tests against No CP and against the baseline, confusion matrices, and
the CopyPaste paper's numbers beside ours where the corpus is one of the paper's. A cell that lacks runs is marked with
a *. With --corpora, makes the paper's tables over several. With --serve, makes nothing, and lets a browser on this
machine read report.html and play its recordings.

examples:
  pyscripts/report.py --exp-dir egs/ravdess/exp --seeds "0 1 2" --folds "1 2 3 4 5 6"
  pyscripts/report.py --exp-dir egs/ravdess/exp --serve 8000
  pyscripts/report.py --corpora cremad=egs/cremad/exp iemocap=egs/iemocap/exp --out exp/tables --seeds "0 1 2" \\
    --folds iemocap="1 2 3 4 5"
"""

from __future__ import annotations

import argparse
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ser.apps.report_page import write_report_page
from ser.apps.report_server import ReportServer
from ser.base.arguments import named_folder
from ser.base.errors import SerError, run_main
from ser.scoring.collect import collect
from ser.scoring.paper_tables import paper_tables, read_paper
from ser.scoring.report import runs_line, write_corpus_report, write_overall_report
from ser.scoring.result_tables import baseline_sentences, summary_table

PAPER = Path(__file__).resolve().parent.parent / "conf" / "copypaste_tables.json"


def numbers(text: str) -> list[int]:
    if not all(word.isdecimal() for word in text.split()):
        raise argparse.ArgumentTypeError(f"expected whole numbers with blanks between them, found {text!r}")
    return [int(word) for word in text.split()]


def named_numbers(text: str) -> tuple[str | None, list[int]]:
    name, equals, listed = text.rpartition("=")
    return name if equals else None, numbers(listed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp-dir", type=Path, default=Path("exp"), help="the runs of one corpus (default: exp)")
    parser.add_argument("--recipe", help="name of the corpus (default: that of the folder <exp-dir> lies in)")
    parser.add_argument("--out", type=Path, help="folder of the report (default: <exp-dir>/results)")
    parser.add_argument(
        "--seeds", type=numbers, help='seeds that every cell must have, e.g. "0 1 2" (default: all that any has)'
    )
    parser.add_argument(
        "--folds", type=named_numbers, nargs="+", default=[], metavar="[NAME=]FOLDS",
        help='likewise its folds, e.g. "1 2 3 4 5"; with --corpora, of the corpus named (iemocap="1 2 3 4 5"), or of '
             "all others that have folds",
    )
    parser.add_argument("--embed-audio", choices=("true", "false"), default="false",
                        help="report.html holds the first 4 s of each recording, instead of a link (default: false)")
    parser.add_argument("--serve", type=int, metavar="PORT",
                        help="serve the report that is there on 127.0.0.1 until Ctrl-C, with the recordings that the "
                             "data directories of its runs name; 0: a free port")
    parser.add_argument("--note", action="append", default=[], metavar="TEXT", help="stands beside the tables")
    parser.add_argument(
        "--paper-corpus", metavar="NAME", help="corpus of the paper to compare with (default: that of --recipe, if any)"
    )
    parser.add_argument(
        "--corpora", type=named_folder, nargs="+", metavar="NAME=EXP-DIR",
        help="make the overall tables of these corpora instead, the paper's under the names that its tables have",
    )
    args = parser.parse_args()
    if args.serve is not None:
        serve(args)
        return
    paper = read_paper(PAPER)
    if args.paper_corpus and args.paper_corpus not in paper["corpora"]:
        parser.error(f"--paper-corpus: the paper has {', '.join(paper['corpora'])}, not {args.paper_corpus}")
    if args.corpora:
        report_overall(args, paper)
    else:
        report_corpus(args, paper)


def serve(args: argparse.Namespace) -> None:
    if args.corpora:
        raise SerError("--serve is for the report of one corpus; leave out --corpora")
    with ReportServer(args.exp_dir, (args.out or args.exp_dir / "results") / "report.html", args.serve) as server:
        print(f"{server.address}\n(Ctrl-C ends it; from another machine: ssh -L {server.server_port}:127.0.0.1:"
              f"{server.server_port} {socket.gethostname()}, then the same address there)", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def report_corpus(args: argparse.Namespace, paper: dict) -> None:
    recipe = args.recipe or args.exp_dir.resolve().parent.name
    folds = dict(args.folds)
    if folds.keys() - {None, recipe}:
        raise SerError(f"--folds: {recipe} is the only corpus; to report several, use --corpora")
    results = collect(args.exp_dir, recipe, args.seeds, folds.get(recipe, folds.get(None)))
    results = replace(results, notes=(*args.note, *results.notes))
    corpus = args.paper_corpus or (recipe if recipe in paper["corpora"] else None)
    out = args.out or args.exp_dir / "results"
    written = write_corpus_report(results, out, paper, corpus)
    figure = (out / "weighted_f1.svg").read_text(encoding="utf-8")
    page = write_report_page(results, out / "report.html", figure, args.embed_audio == "true")
    print(f"{recipe}: {runs_line(results)}")
    print(f"\n{summary_table(results).text()}")
    print_notes(baseline_sentences(results))
    print_notes(results.notes)
    print(f"\nReport: {page.resolve()}, and {written[0].name} with {len(written) - 1} CSV, PNG and SVG files beside it")


def report_overall(args: argparse.Namespace, paper: dict) -> None:
    for option in ("recipe", "paper_corpus"):
        if getattr(args, option):
            raise SerError(f"--{option.replace('_', '-')} is for one corpus; leave it out with --corpora")
    if len({name for name, _ in args.corpora}) < len(args.corpora):
        raise SerError("--corpora names a corpus twice")
    corpora, folds = {}, dict(args.folds)
    if strangers := folds.keys() - {None, *dict(args.corpora)}:
        raise SerError(f"--folds: {', '.join(sorted(strangers))} is not among --corpora")
    for name, exp_dir in args.corpora:
        of_others = folds.get(None) if any(exp_dir.glob("*/fold*")) else None
        corpora[name] = collect(exp_dir, name, args.seeds, folds.get(name, of_others))
    written = write_overall_report(corpora, args.out or args.exp_dir / "results", paper)
    for table in paper_tables(paper, corpora)[0]:
        print(f"{table.text()}\n")
    print_notes([f"{name}: {note}" for name, results in corpora.items() for note in results.notes])
    print(f"Report: {' '.join(map(str, written))}")


def print_notes(notes: list[str] | tuple[str, ...]) -> None:
    if notes:
        print("\n" + "\n".join(notes))


if __name__ == "__main__":
    run_main(main)
