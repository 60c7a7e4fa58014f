#!/usr/bin/env python3
"""Pack the features of data directories into one file that training maps into memory; steps/pack_feats.sh runs it."""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.base.errors import run_main
from ser.features.packed import DTYPES, Pack, is_current, pack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only print whether the packed set is up to date")
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="type of the frames (default: %(default)s)")
    parser.add_argument("data", nargs="+", type=Path, help="data directories with features, e.g. clean and noisy")
    parser.add_argument("packed_dir", type=Path, metavar="packed-dir", help="folder to pack into")
    args = parser.parse_args()
    if is_current(args.data, args.packed_dir, args.dtype):
        print(f"{args.packed_dir}: packed features are up to date")
    elif not args.check:
        pack(args.data, args.packed_dir, args.dtype)
        packed = Pack(args.packed_dir)
        print(f"{args.packed_dir}: {len(packed.lengths)} utterances, {len(packed.frames)} frames, "
              f"{packed.frames.nbytes / 1e9:.2f} GB")


if __name__ == "__main__":
    run_main(main)
