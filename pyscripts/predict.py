#!/usr/bin/env python3
"""Say which emotion is heard in recordings, by a trained run.

Takes files of any rate that libsndfile or, where it is installed, ffmpeg reads, folders (all audio files in them), and
- for a recording on standard input. The front end is the one that the run was trained on, so that a test set's
recordings get the very answers that stage 4 scored. A recording that cannot be used is named on standard error, the
others go on, and the exit status is 1 in the end.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import soundfile

from ser.apps.recogniser import Answer, Recogniser
from ser.base.errors import SerError, run_main
from ser.data import corpus_table

STDIN = "standard input"
# What is looked for in folders: libsndfile's formats, and those that only ffmpeg reads.
SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} | {
    ".aif", ".aifc", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".wma", ".webm", ".mkv", ".mov", ".amr",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="RUN",
                        help="folder of a finished training, e.g. egs/mini/exp/mfcc-tdnn_clean_none_random/seed0")
    parser.add_argument("--encoder", default="", metavar="DIR",
                        help="of a run on a frozen encoder: where that lies (default: as in training)")
    parser.add_argument("--format", choices=("text", "json", "csv"), default="text",
                        help="json: a line for each recording; csv: a row for each, or each piece (default: text)")
    parser.add_argument("--every", type=seconds, default=0.0, metavar="S",
                        help="also say what is heard in each piece of S seconds")
    parser.add_argument("--plot", type=Path, metavar="FILE",
                        help="with --every: draw what is heard along one recording (PNG, SVG …)")
    parser.add_argument("--same-speaker", choices=("true", "false"), default="false",
                        help="one person speaks in all recordings; this helps a run of --cmn speaker (default: false)")
    parser.add_argument("--table", type=Path, metavar="TABLE",
                        help="the recordings of a CSV or TSV file (egs/table/README.md), or pieces of them where it "
                             "has columns start and end, and who speaks in them")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: %(default)s)")
    parser.add_argument("files", nargs="*", metavar="FILE", help="recording, folder, or - for standard input")
    args = parser.parse_args()
    if args.plot and not args.every:
        parser.error("--plot draws what --every S says")
    if bool(args.files) == bool(args.table):
        parser.error("name recordings, or a --table of them")
    if args.table and args.same_speaker == "true":
        parser.error("a --table says who speaks; --same-speaker is for files")
    if args.plot:
        from ser.scoring.plots import picture_format

        picture_format(args.plot)
    recogniser = Recogniser(args.model, args.device, args.encoder)
    with tempfile.TemporaryDirectory() as folder:
        piped = Path(folder) / "audio"
        if args.table:
            listed = corpus_table.read_pieces(args.table)
            files, speakers = [str(row.path) for row in listed], [row.speaker or str(row.path) for row in listed]
            pieces = [(row.start, row.end) for row in listed]
        else:
            files = list(found(args.files, piped))
            speakers, pieces = ["the same" if args.same_speaker == "true" else file for file in files], None
        if args.plot and len(files) != 1:
            raise SerError(f"--plot {args.plot}: draws one recording, not {len(files)}")
        answers = [named(answer, str(piped)) for answer in recogniser.predict(files, args.every, speakers, pieces)]
    WRITERS[args.format]([answer for answer in answers if not answer.error], recogniser.classes)
    sys.stdout.flush()
    if args.plot:
        draw(args.plot, answers[0], recogniser.classes)
    for answer in answers:
        if answer.error:
            print(f"predict.py: error: {answer.error}", file=sys.stderr)
    sys.exit(any(answer.error for answer in answers))


def seconds(text: str) -> float:
    """Convert a length of pieces."""
    try:
        if 0.01 <= float(text) < float("inf"):
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds from 0.01")


def found(names: Sequence[str], piped: Path) -> Iterator[str]:
    """Yield the files that are named, those in the folders that are named, and `piped` for standard input.

    Raises:
        SerError: a folder has no audio, or standard input is asked for twice.
    """
    for name in names:
        if name == "-":
            if piped.exists():
                raise SerError("-: standard input is one recording; name it once")
            with open(piped, "wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
            yield str(piped)
        elif os.path.isdir(name):
            inside = sorted(str(path) for path in Path(name).rglob("*")
                            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file())
            if not inside:
                raise SerError(f"{name}: no audio file in this folder")
            yield from inside
        else:
            yield name


def named(answer: Answer, piped: str) -> Answer:
    """Return an answer that calls standard input by this name."""
    if answer.name != piped:
        return answer
    return replace(answer, name=STDIN, error=answer.error.replace(piped, STDIN))


def write_text(answers: Sequence[Answer], classes: Sequence[str]) -> None:
    """Print a line for each recording, and one for each piece below it, the likeliest emotion first."""
    for answer in answers:
        where = " {:.2f}-{:.2f} s".format(*answer.piece) if answer.piece else ""
        print(f"{answer.name}{where}  {ranked(answer.probabilities)}" + "  (normalised by itself alone)" * answer.alone)
        for moment in answer.along:
            print(f"  {moment.start:.2f}-{moment.end:.2f} s  {ranked(moment.probabilities) or 'nobody speaks'}")


def ranked(probabilities: dict[str, float]) -> str:
    likely = sorted(probabilities, key=probabilities.__getitem__, reverse=True)
    return "  ".join(f"{name} {probabilities[name]:.2f}" for name in likely)


def write_json(answers: Sequence[Answer], classes: Sequence[str]) -> None:
    """Print a JSON object for each recording, a line each."""
    for answer in answers:
        record = {"file": answer.name, "seconds": answer.seconds, "emotion": answer.emotion,
                  "probabilities": answer.probabilities, "alone": answer.alone}
        if answer.piece:
            record["piece"] = answer.piece
        if answer.along:
            record["along"] = [vars(moment) for moment in answer.along]
        print(json.dumps(record, ensure_ascii=False))


def write_csv(answers: Sequence[Answer], classes: Sequence[str]) -> None:
    """Print a row for each piece, or for each recording where there are no pieces."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "start", "end", "emotion", *classes])
    for answer in answers:
        pieces = [(moment.start, moment.end, moment.emotion, moment.probabilities) for moment in answer.along]
        whole = answer.piece or (0.0, answer.seconds)
        for start, end, emotion, of_class in pieces or [(*whole, answer.emotion, answer.probabilities)]:
            values = [f"{of_class[name]:.6f}" if of_class else "" for name in classes]
            writer.writerow([answer.name, f"{start:.3f}", f"{end:.3f}", emotion, *values])


WRITERS = {"text": write_text, "json": write_json, "csv": write_csv}


def draw(path: Path, answer: Answer, classes: Sequence[str]) -> None:
    """Draw the pieces of a recording, if it could be read."""
    if answer.error:
        return
    from ser.scoring.plots import course

    times = [(moment.start + moment.end) / 2 for moment in answer.along]
    values = [[moment.probabilities.get(name, float("nan")) for name in classes] for moment in answer.along]
    course(path, answer.name, times, values, classes)


if __name__ == "__main__":
    run_main(main)
