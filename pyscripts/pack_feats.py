#!/usr/bin/env python3
"""Pack the features of data directories into one file, which training maps into memory instead of reading it.

Example: steps/pack_feats.sh --cmd "$train_cmd" data/train_voiced data/train_noisy1_voiced data/packed_train

Reads feats.scp and utt2num_frames of every <data> (clean recordings and noisy copies, say; no utterance id may be in
two of them). Writes frames.bin, an index of it, and the labels of the tables utt2spk and utt2emo that all of them
have. `train.py --train <packed-dir>` then needs neither the data directories nor their arks. Memory does not grow with
the features, only with the tables of one data directory (0.5 kB an utterance). What is up to date is not packed again;
a packing that was killed starts again from the beginning.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.base.errors import run_main
from ser.features.feature_step import add_job_arguments, run_jobs
from ser.features.packed import DTYPES, Pack, is_current, pack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_job_arguments(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="type of the frames (default: float16, "
                        "which takes half the space and keeps 11 significant bits)")
    parser.add_argument("data", nargs="+", type=Path, metavar="<data>", help="data directories with features")
    parser.add_argument("packed_dir", type=Path, metavar="<packed-dir>", help="folder to pack into")
    args = parser.parse_args()
    if is_current(args.data, args.packed_dir, args.dtype):
        print(f"{args.packed_dir}: packed features are up to date")
    elif args.job is not None:
        pack(args.data, args.packed_dir, args.dtype)
    else:
        run_jobs(args.cmd, 1, args.packed_dir / "log" / "pack_feats.JOB.log")
        packed = Pack(args.packed_dir)
        print(f"{args.packed_dir}: {len(packed.lengths)} utterances, {len(packed.frames)} frames, "
              f"{packed.frames.nbytes / 1e9:.2f} GB")


if __name__ == "__main__":
    run_main(main)
