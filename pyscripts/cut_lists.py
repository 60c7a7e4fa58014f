#!/usr/bin/env python3
"""Make the lists of a corpus anew, of blocks of one length: what a system of short images or segments is trained on.

Reads <corpus-data>/{train,dev,test}, or <corpus-data>/all and <corpus-data>/fold<k>/{train,dev,test}, and writes the
same of blocks in <data>; or with --split segment <data>/all and <data>/fold<k>/{train,dev,test} of a random split of
the blocks: a fifth is every fold's test set, and each fold has another part of the rest as its dev set. Prints, and
leaves in <data>/leak, how much the test sets share with training; and in <data>/counts.tsv, how many utterances and
blocks each class has.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from ser.base.errors import SerError, run_main
from ser.base.files import write_text
from ser.base.kaldi_tables import read_table
from ser.base.words import some
from ser.data import rearrange
from ser.data.random_split import leak, split_at_random
from ser.data.segments import REMAINDERS, count_blocks, subsegment

COUNTS = ("class", "utterances", "with_blocks", "blocks")  # columns of counts.tsv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=float, default=1.0, metavar="SECONDS", help="of a block (default: 1)")
    parser.add_argument("--remainder", choices=REMAINDERS, default="drop", help="what is left (default: drop)")
    parser.add_argument("--split", choices=("speaker", "segment"), default="speaker",
                        help="the corpus's own, or blocks at random (default: %(default)s)")
    parser.add_argument("--cv-folds", type=int, default=5, help="of a random split (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of a random split (default: %(default)s)")
    parser.add_argument("corpus_data", type=Path, metavar="corpus-data")
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    folds = sorted(path for path in args.corpus_data.glob("fold*") if (path / "test" / "utt2spk").is_file())
    wholes = ["all"] if folds else ["train", "dev", "test"]
    if not all((args.corpus_data / name / "utt2spk").is_file() for name in wholes):
        raise SerError(f"{args.corpus_data}: has no lists; run stage 0 first")
    if args.split == "segment":
        whole = args.corpus_data / "all"
        if not folds:
            whole = args.data / "whole"
            rearrange.combine(whole, [args.corpus_data / name for name in wholes])
        cut(whole, args.data / "all", args)
        blocks = read_table(args.data / "all" / "utt2spk")
        test, parts = split_at_random(blocks, args.cv_folds, args.seed)
        for number, dev in enumerate(parts, 1):
            out = args.data / f"fold{number}"
            sets = {"train": blocks.keys() - {*test, *dev}, "dev": dev, "test": test}
            for name, chosen in sets.items():
                rearrange.subset(args.data / "all", out / name, chosen)
        made = [args.data / f"fold{number}" for number in range(1, len(parts) + 1)]
    else:
        for name in (*wholes, *(f"{fold.name}/{name}" for fold in folds for name in ("train", "dev", "test"))):
            cut(args.corpus_data / name, args.data / name, args)
        made = [args.data / fold.name for fold in folds] or [args.data]
    tables = [[read_table(folder / name / "utt2spk") for name in ("test", "train")] for folder in made]
    blocks_in = ["all"] if args.split == "segment" else wholes
    counts = count_blocks(tables_of(args.corpus_data, wholes, "utt2emo"), tables_of(args.data, blocks_in, "utt2emo"))
    write_text(args.data / "counts.tsv", "".join("\t".join(map(str, row)) + "\n" for row in [COUNTS, *counts]))
    for label, utterances, with_blocks, blocks in counts:
        print(f"{label}: {utterances} utterances, {with_blocks} of them with a block, {blocks} blocks")
    utterances, speakers = (sum(shares) / len(made) for shares in zip(*(leak(*pair) for pair in tables), strict=True))
    text = f"leak: {utterances:.0%} of test blocks share an utterance with training, {speakers:.0%} a speaker"
    write_text(args.data / "leak", f"{text}\n")
    print(text)


def tables_of(folder: Path, names: Iterable[str], table: str) -> dict[str, str]:
    """Return a table of several data directories as one; nothing where there is none of them."""
    paths = [folder / name / table for name in names]
    return {key: value for path in paths if path.is_file() for key, value in read_table(path).items()}


def cut(src: Path, dst: Path, args: argparse.Namespace) -> None:
    """Cut one data directory, and say what there is."""
    without = subsegment(src, dst, args.length, args.remainder)
    short = f"; {len(without)} utterances have none: {some(without, 5)}" if without else ""
    print(f"{dst}: {len(read_table(dst / 'utt2spk'))} blocks of {args.length:g} s{short}")


if __name__ == "__main__":
    run_main(main)
