#!/usr/bin/env python3
"""Copies of a data directory at other speeds or pitches, or of other vocal tracts.

Example: steps/perturb_data_dir.sh --kind speed --factors "0.9 1.1" data/train data/train_speed

<out-data> gets the tables of <data> but those made of its audio, utt2perturb, lines `<utterance> <kind> <number>`, by
which the steps that read audio change it in memory, and Kaldi's utt2uniq, lines `<utterance> <utterance that it is a
copy of>`. Speakers and labels stay.
  speed  each factor makes a copy of every utterance, <utt>-sp0.9, as sox's speed does: slower and lower
  pitch  every utterance, as <utt>-pitch, is moved by one of the numbers of semitones, its length kept to the sample
  vtlp   the frequency axis of every utterance, as <utt>-vtlp, is warped by a factor (Jaitly and Hinton 2013)
What is drawn depends on the utterance's id, the kind, the factors and the seed. What is up to date is not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.base.errors import SerError, run_main
from ser.base.files import Marker, fingerprint
from ser.data.copies import OF_CLEAN_AUDIO, copied_tables, is_whole, write_copy
from ser.data.datadir import HOW_MADE, TABLES, DataDir, validate
from ser.data.durations import durations
from ser.features.perturb import RANGES, Perturbation, draw_amount, parse_amount

_DEFAULTS = {"speed": "0.9 1.1", "pitch": "-2 2", "vtlp": "0.9:1.1"}


def parse_choices(kind: str, text: str) -> list[tuple[float, float]]:
    """Read blank-separated numbers and ranges `low:high`. Raises SerError for none, or one that is out of range."""
    choices = []
    for word in text.split() or [text]:
        low, _, high = word.partition(":")
        choices.append((parse_amount(kind, low, "--factors"), parse_amount(kind, high or low, "--factors")))
        if choices[-1][0] > choices[-1][1]:
            raise SerError(f"--factors {word}: the lower number comes first")
    return choices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=RANGES, required=True, help="what is changed")
    parser.add_argument("--factors", default="", metavar="NUMBERS",
                        help="factors, or semitones; for pitch and vtlp also ranges LOW:HIGH, of which one is drawn "
                        "(--factors=-2:2; default: speed '0.9 1.1', pitch '-2 2', vtlp 0.9:1.1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed draws others (default: 0)")
    parser.add_argument("data_dir", type=Path, metavar="<data>", help="data directory")
    parser.add_argument("out_dir", type=Path, metavar="<out-data>", help="where the copy goes")
    arguments = parser.parse_args()
    kind, out_dir = arguments.kind, arguments.out_dir
    choices = parse_choices(kind, arguments.factors or _DEFAULTS[kind])
    if kind == "speed" and any(low != high for low, high in choices):
        raise SerError("--factors of speed are numbers, each of which makes a copy; not ranges")
    if out_dir.resolve() == arguments.data_dir.resolve():
        raise SerError(f"{out_dir}: the copy would overwrite the data directory; give it another name")
    validate(arguments.data_dir, need=("wav.scp",))
    data = DataDir(arguments.data_dir)
    if copy := [name for name in HOW_MADE if data.has(name)]:
        raise SerError(f"{data.path}: is a copy itself (it has {copy[0]}); copy the original data")
    copies = {f"-sp{low:g}": [(low, low)] for low, _ in choices} if kind == "speed" else {f"-{kind}": choices}
    if taken := {utt + suffix for utt in data.utterances for suffix in copies} & set(data.utterances):
        raise SerError(f"{data.path}: {min(taken)} is there already; rename that utterance")
    marker = Marker(out_dir / ".perturb_data_dir.done", fingerprint(
        *(arguments.data_dir / name for name in TABLES if name not in OF_CLEAN_AUDIO), kind, choices, arguments.seed))
    tables = copied_tables(data, copies, with_vad=False)
    if marker.is_current() and is_whole(out_dir, ("utt2perturb", *tables)):
        print(f"{out_dir}: {kind} copy of {data.path} is up to date")
        return
    seconds = durations(data)
    made = {utt + suffix: Perturbation(kind, draw_amount(of_copy, kind, utt, arguments.seed))
            for utt in data.utterances for suffix, of_copy in copies.items()}
    lengths = {utt: f"{how.seconds(seconds[tables['utt2uniq'][utt]]):.6g}" for utt, how in made.items()}
    marker.clear()
    write_copy(out_dir, {"utt2perturb": made, **tables, "utt2dur": lengths})
    marker.write(())
    print(f"{out_dir}: {len(made)} utterances, {len(copies)} for each of {data.path}, {kind}")


if __name__ == "__main__":
    run_main(main)
