#!/usr/bin/env python3
"""Copies of a data directory in other styles, EmoAug's training data, or in other emotions, its rivals'.

Example: steps/convert_data_dir.sh --nj 4 --cmd "$train_cmd" --model exp/emoaug/fold1 --vocoder models/hifigan
           --copies 4 data/fold1/train data/fold1/train_emoaug4

What is made depends on what was trained. By a network of synthesis each utterance of <data> is said anew in the style
of another of the same speaker and emotion, never in its own. <data> has what the network was trained on
(steps/make_mel.sh, extract_units.sh, make_styles.sh, by the same vocoder, encoder, codebook and speaker encoder),
wav.scp, utt2spk and utt2emo. A copy has the silence before and after it that its source has: without it a recogniser
takes even a recording itself for another emotion's. By CycleGAN or StarGAN each neutral utterance is turned into every
other emotion of the training, whose last network is taken; <data> has WORLD's features (steps/make_world.sh). Only
neutral utterances are sources, since every one in every other emotion would be many times the data.

<out-data> gets wav.scp (16 bits, in <out-data>/wav), utt2spk, utt2emo, text where there is one, utt2dur, and utt2uniq,
the utterance that a copy <utt>-emoaug1 or <utt>-cyclegan-angry is of. Copies in other styles have utt2ref, the one
whose style it is; of those in other emotions utt2emo has that emotion. Give it training data alone: a copy of a test
utterance would be a leak.

A copy in another style that does not stop within twice its source, is shorter than half of it or silent, or whose
attention does not read all units in order, is rejected and tried again in another style, three times in all; then it
is given up. A copy in another emotion is given up where it is silent or no sound at all. Faults and copies given up
are counted, and listed in <log>/convert_<name>.rejected. An utterance without another of its speaker and emotion has
no copies in other styles, and is counted. What a copy is depends on its utterance, its number and the seed, or its
emotion (and on what else is in <data> by rounding alone). What is there is not made again: a run that was killed goes
on after its last 32 copies. A GPU is used where the job sees one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.apps.conversions import Settings, conversion_of
from ser.base.arguments import positive
from ser.base.errors import run_main
from ser.base.files import remove_leftovers
from ser.features.feature_step import add_job_arguments, run_jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_job_arguments(parser)
    parser.add_argument("--nj", type=positive, default=4, metavar="N", help="number of jobs (default: 4)")
    parser.add_argument("--model", type=Path, required=True, metavar="RUN",
                        help="folder of a finished training of synthesis, CycleGAN or StarGAN, or a checkpoint")
    parser.add_argument("--vocoder", type=Path, metavar="DIR", help="folder of a HiFi-GAN in SpeechBrain's format "
                        "(default: Griffin and Lim's algorithm)")
    parser.add_argument("--copies", type=positive, default=1, metavar="N", help="of each utterance (default: 1)")
    parser.add_argument("--balance", choices=("true", "false"), default="false",
                        help="more copies of rarer emotions, so that all are as many (default: false)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed draws other styles (default: 0)")
    parser.add_argument("--reject", choices=("true", "false"), default="true",
                        help="false: keep what has a fault, if it is 0.1 s long, to hear it (default: true)")
    parser.add_argument("data_dir", type=Path, metavar="<data>", help="data directory")
    parser.add_argument("out_dir", type=Path, metavar="<out-data>", help="where the copies go")
    parser.add_argument("log_dir", type=Path, nargs="?", metavar="<log>",
                        help="where logs go (default: <out-data>/log)")
    args = parser.parse_args()
    log, name = args.log_dir or args.out_dir / "log", args.out_dir.resolve().name
    conversion = conversion_of(args.model, Settings(
        args.data_dir, args.out_dir, args.vocoder, args.copies, args.balance == "true", args.seed,
        args.reject == "true"))
    if args.job is not None:
        conversion.run(args.job, args.nj)
    elif conversion.marker.is_current() and conversion.is_whole():
        print(f"{args.out_dir}: converted copies of {args.data_dir} are up to date")
    else:
        conversion.marker.clear()
        remove_leftovers(conversion.folder)
        run_jobs(args.cmd, min(args.nj, len(conversion.batches)), log / f"convert_{name}.JOB.log")
        conversion.collect(log / f"convert_{name}.rejected")


if __name__ == "__main__":
    run_main(main)
