#!/usr/bin/env python3
"""Check, mend, cut and join Kaldi data directories.

utils/data_dir.sh and the tools with Kaldi's names that are links to it run this program.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ser.base.errors import SerError, run_main
from ser.base.files import write_text
from ser.data import datadir, rearrange, segments
from ser.data.datadir import DataDir

_NAMED = 20  # utterances named in the log; the rest is counted


def validate(args: argparse.Namespace) -> None:
    need = [
        name
        for name, not_needed in (("wav.scp", args.no_wav), ("feats.scp", args.no_feats), ("utt2emo", args.no_emo))
        if not not_needed
    ]
    emotions = None if args.emotions is None else args.emotions.split()
    datadir.validate(args.data, need=need, emotions=emotions, speaker_order=not args.no_spk_sort)
    print(f"{args.data}: valid, {_size(args.data)}")


def fix(args: argparse.Namespace) -> None:
    dropped = rearrange.fix(args.data)
    _name_dropped({f"not (or malformed) in {name}": utts for name, utts in dropped.items()})
    number = sum(map(len, dropped.values()))
    print(f"{args.data}: " + (f"dropped {number} utterances, kept " if number else "kept all of ") + _size(args.data))
    if number:
        print(f"{args.data}: the files as they were, and dropped_utterances, are in {args.data}/.backup")


def subset(args: argparse.Namespace) -> None:
    by_list = args.utt_list or args.spk_list
    if len(args.arguments) != (2 if by_list else 3):
        raise SerError(f"expected {'<src> <dst>' if by_list else '<src> <number> <dst>'}; see --help")
    src, dst = args.arguments[0], args.arguments[-1]
    data = DataDir(src)
    if by_list:
        wanted = _read_list(Path(by_list))
        utt2spk = data.table("utt2spk")
        known = set(utt2spk) if args.utt_list else set(utt2spk.values())
        _name_dropped({f"in {by_list} but not in {src}": [name for name in wanted if name not in known]})
        chosen = set(wanted)
        utterances = [utt for utt, speaker in utt2spk.items() if (utt if args.utt_list else speaker) in chosen]
    else:
        try:
            number = int(args.arguments[1])
        except ValueError:
            raise SerError(f"'{args.arguments[1]}' is not a number of utterances; see --help") from None
        utterances = rearrange.pick(data, args.how, number, args.seed)
    rearrange.subset(src, dst, utterances)
    print(f"{dst}: {_size(dst)}, of {len(data.utterances)} utterances in {src}")


def combine(args: argparse.Namespace) -> None:
    for name, without in rearrange.combine(args.dst, args.src).items():
        reason = f"not in {', '.join(without)}" if without else "it would not say what is noisy, or versions differ"
        print(f"{args.dst}: left out {name}: {reason}", file=sys.stderr)
    print(f"{args.dst}: {_size(args.dst)}, from {len(args.src)} directories")


def split(args: argparse.Namespace) -> None:
    rearrange.split(args.data, args.parts, args.per_utt)


def subsegment(args: argparse.Namespace) -> None:
    without = segments.subsegment(args.src, args.dst, args.length, args.remainder)
    _name_dropped({f"utterances of {args.src} have no block of {args.length:g} s": without})
    blocks, utterances = len(DataDir(args.dst).utterances), len(DataDir(args.src).utterances)
    print(f"{args.dst}: {blocks} blocks of {args.length:g} s of {utterances - len(without)} utterances in {args.src}"
          + (f"; {len(without)} others have none" if without else ""))


def check_disjoint(args: argparse.Namespace) -> None:
    datadir.check_disjoint(*args.data)
    print(f"no speaker is in two of {', '.join(args.data)}")


def class_counts(args: argparse.Namespace) -> None:
    counts = [datadir.class_counts(data) for data in args.data]
    labels = sorted(set(args.emotions.split()).union(*counts))
    table = [["", *labels, "all", "speakers"]]
    for data, of_class in zip(args.data, counts, strict=True):
        row = [of_class.get(label, 0) for label in labels]
        speakers = len(set(DataDir(data).table("utt2spk").values()))
        table.append([data, *map(str, (*row, sum(row), speakers))])
    _print_table(table)
    for data, of_class in zip(args.data, counts, strict=True):
        absent = [label for label in labels if not of_class.get(label)]
        if absent and Path(data).name == args.all_in:
            raise SerError(f"{data}/utt2emo: no utterance is {' or '.join(absent)}; a model cannot learn what it never "
                           "sees: complete the corpus, or name the classes that there are (--emotions)")


def speaker_counts(args: argparse.Namespace) -> None:
    table = [["", "utterances", "speakers", "fewest", "median", "most"]]
    for data in args.data:
        of_speaker = Counter(DataDir(data).table("utt2spk").values())
        counts = sorted(of_speaker.values())
        spread = (counts[0], counts[len(counts) // 2], counts[-1])  # utterances of a speaker
        table.append([data, *map(str, (sum(counts), len(counts), *spread))])
    _print_table(table)


def filter_speakers(args: argparse.Namespace) -> None:
    for option, value in (("--min-utts", args.min_utts), ("--min-frames", args.min_frames)):
        if value < 1:
            raise SerError(f"{option} {value}: at least 1")
    data = DataDir(args.data)
    speakers = set(DataDir(args.speakers_of).table("utt2spk").values()) if args.speakers_of else None
    kept, why = rearrange.filter_speakers(data, args.min_utts, args.min_frames, speakers)
    utt2spk = data.table("utt2spk")
    before, after = set(utt2spk.values()), {utt2spk[utt] for utt in kept}
    if not kept:
        raise SerError(f"{args.data}: none of its {len(before)} speakers has {args.min_utts} utterances of "
                       f"{args.min_frames} frames; lower --min-utts or --min-frames")
    rearrange.subset(data.path, args.out, kept)
    reasons = {
        "speaker": f"utterances of speakers that are not in {args.speakers_of}",
        "frames": f"utterances with under {args.min_frames} frames",
        "utterances": f"utterances of speakers left with under {args.min_utts}",
    }
    listing = Path(args.out) / "dropped_utterances"
    if why:
        write_text(listing, "".join(f"{utt} {reason}\n" for utt, reason in sorted(why.items())))
    else:
        listing.unlink(missing_ok=True)
    _name_dropped({text: [utt for utt in why if why[utt] == reason] for reason, text in reasons.items()})
    _name_dropped({"speakers dropped": sorted(before - after)})
    print(f"{args.out}: {_size(args.out)}; dropped {len(why)} utterances and {len(before - after)} speakers"
          + (f" (named in {listing})" if why else ""))


def _print_table(table: list[list[str]]) -> None:
    """Print rows of a name and numbers, aligned."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for name, *numbers in table:
        cells = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        print("  ".join([name.ljust(widths[0]), *cells]))


def _size(path: str) -> str:
    utt2spk = DataDir(path).table("utt2spk")
    return f"{len(utt2spk)} utterances of {len(set(utt2spk.values()))} speakers"


def _name_dropped(dropped: dict[str, list[str]]) -> None:
    for reason, names in dropped.items():
        if names:
            listing = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
            print(f"{len(names)} {reason}: {listing}", file=sys.stderr)


def _read_list(path: Path) -> list[str]:
    try:
        names = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise SerError(f"{path}: not a UTF-8 text file") from None
    if not names:
        raise SerError(f"{path}: is empty; one id a line is expected")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Callable[[argparse.Namespace], None], name: str, text: str) -> argparse.ArgumentParser:
        program = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        program.set_defaults(run=function)
        return program

    program = command(validate, "validate", "report every problem of a data directory, with file, line and remedy")
    program.add_argument("--no-feats", action="store_true", help="feats.scp need not be there")
    program.add_argument("--no-wav", action="store_true", help="wav.scp need not be there, nor the audio it names")
    program.add_argument("--no-emo", action="store_true", help="utt2emo need not be there")
    program.add_argument("--no-text", action="store_true", help="taken for Kaldi's sake: text is never needed")
    program.add_argument("--no-spk-sort", action="store_true", help="utterance ids need not start with the speaker")
    program.add_argument("--emotions", metavar='"A B…"', help="the labels allowed in utt2emo (default: any)")
    program.add_argument("data")

    program = command(
        fix, "fix", "sort all tables and drop utterances that are not in every one (old files go to <data>/.backup)"
    )
    program.add_argument("data")

    program = command(subset, "subset", "write a part of a data directory, spread evenly over it if not said otherwise")
    which = program.add_mutually_exclusive_group()
    which.add_argument("--utt-list", metavar="FILE", help="the utterances in this file (<src> <dst>)")
    which.add_argument("--spk-list", metavar="FILE", help="the speakers in this file (<src> <dst>)")
    for how, text in (
        ("first", "the first <number> utterances"),
        ("last", "the last <number> utterances"),
        ("shortest", "the <number> shortest utterances"),
        ("per-spk", "<number> utterances of every speaker, or all where there are fewer"),
        ("speakers", "speakers at random until there are at least <number> utterances"),
    ):
        which.add_argument(f"--{how}", action="store_const", const=how, dest="how", help=text)
    program.set_defaults(how="spread")
    program.add_argument("--seed", type=int, default=0, help="of --speakers (default: 0)")
    program.add_argument("arguments", nargs="+", metavar="<src> [<number>] <dst>")

    program = command(combine, "combine", "join data directories; a table that some of them lack is left out")
    program.add_argument("dst")
    program.add_argument("src", nargs="+")

    program = command(split, "split", "cut a data directory into <data>/split<parts>/<k>, by whole speakers")
    program.add_argument("--per-utt", action="store_true", help="cut within speakers, into <data>/split<parts>utt/<k>")
    program.add_argument("data")
    program.add_argument("parts", type=int)

    program = command(subsegment, "subsegment", "cut every utterance into blocks of one length, from its beginning on, "
                      "with the ids <utterance>-<start>-<end> in 1/100 s; labels stay, features are left out")
    program.add_argument("--length", type=float, default=1.0, metavar="SECONDS", help="of a block (default: 1)")
    program.add_argument("--remainder", choices=segments.REMAINDERS, default="drop",
                         help="what is left at the end: dropped, or a block that features are padded for "
                              "(default: drop)")
    program.add_argument("src")
    program.add_argument("dst")

    program = command(check_disjoint, "check-disjoint", "fail if a speaker is in two of the data directories")
    program.add_argument("data", nargs="+")

    program = command(class_counts, "class-counts", "print how many utterances of each emotion the directories have")
    program.add_argument("--emotions", metavar='"A B…"', default="", help="show these even where there are none")
    program.add_argument("--all-in", metavar="NAME", help="an error if one is absent from a directory of this name")
    program.add_argument("data", nargs="+")

    program = command(speaker_counts, "speaker-counts",
                      "print how many utterances and speakers the directories have, and utterances of a speaker")
    program.add_argument("data", nargs="+")

    program = command(filter_speakers, "filter-speakers", "write the part of a directory whose speakers have enough "
                      "data; what is dropped is listed, with the reason, in <out-data>/dropped_utterances")
    program.add_argument("--min-utts", type=int, default=1, metavar="N",
                         help="drop speakers with fewer utterances, not counting those that are too short (default 1)")
    program.add_argument("--min-frames", type=int, default=1, metavar="F",
                         help="drop utterances with fewer frames, by utt2num_frames (default 1)")
    program.add_argument("--speakers-of", metavar="DIR", help="drop speakers that are not in this data directory")
    program.add_argument("data")
    program.add_argument("out", metavar="out-data")

    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    run_main(main)
