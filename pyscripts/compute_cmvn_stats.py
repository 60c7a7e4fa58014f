#!/usr/bin/env python3
"""Statistics of each speaker's frames, for normalisation by speaker; steps/compute_cmvn_stats.sh runs it.

Reads feats.scp, vad.scp, utt2spk and utt2uniq of data directories. Writes cmvn.scp, utt2cmvn and utt2num_cmvn.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.base.errors import run_main
from ser.features.cmvn import CmvnStats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true",
                        help="only print which statistics are up to date and, last, the number of those that are not")
    parser.add_argument("--also", type=Path, action="append", default=[], metavar="DATA",
                        help="another data directory to do with it, its ark in DATA/data; may be repeated")
    parser.add_argument("--per-utt", choices=("true", "false"), default="false",
                        help="statistics of each utterance alone instead of a speaker's")
    parser.add_argument("--vad", choices=("true", "false"), default="true",
                        help="over the voiced frames, those of vad.scp; false: over all frames")
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("ark_dir", type=Path, metavar="ark-dir", help="folder for the ark")
    args = parser.parse_args()
    places = [(args.data, args.ark_dir), *((data, data / "data") for data in args.also)]
    stale = []
    for data, ark_dir in places:
        stats = CmvnStats(data, ark_dir, args.per_utt == "true", args.vad == "true")
        if stats.is_current():
            print(f"compute_cmvn_stats: {data}: statistics up to date")
        else:
            stale.append(stats)
    if args.check:
        print(len(stale))
        return
    for stats in stale:
        print(f"compute_cmvn_stats: {stats.data}: {stats.compute()}", flush=True)


if __name__ == "__main__":
    run_main(main)
