#!/usr/bin/env python3
"""Statistics for normalisation by speaker: Kaldi's, over the voiced frames of each speaker's recordings.

Example: steps/compute_cmvn_stats.sh --cmd "$train_cmd" data/train

Reads feats.scp, vad.scp, utt2spk and, of noisy copies, utt2uniq. Writes cmvn.scp, each speaker's statistics, in
<data>; the ark goes to <ark-dir> (<data>/data), the log to <log> (<data>/log). Where <data> has several copies of a
recording (<utt>-noise-snr10 …), each copy of a speaker's recordings has its own statistics, and there is no cmvn.scp;
<ark-dir>/cmvn_<name>.scp has them all. utt2cmvn says which are an utterance's, as steps/prepare_feats.sh --cmn speaker
and Kaldi's `apply-cmvn scp:<data>/utt2cmvn …` read it, and utt2num_cmvn of how many recordings they are. What is up to
date is not made again; a killed step starts again from the beginning.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ser.base.errors import SerError, run_main
from ser.features.cmvn import CmvnStats
from ser.features.feature_step import add_job_arguments, run_jobs

_NAME = "compute_cmvn_stats"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_job_arguments(parser)
    parser.add_argument("--also", default="", metavar="DIRS", help="more data directories to do in the same job, "
                        "blank-separated (their arks go to data/ in them)")
    parser.add_argument("--per-utt", choices=("true", "false"), default="false",
                        help="statistics of each utterance alone: what a stranger's single recording can have "
                        "(default: false)")
    parser.add_argument("--vad", choices=("true", "false"), default="true",
                        help="over the voiced frames, those of vad.scp; false: over all frames (hidden states have no "
                        "VAD; default: true)")
    parser.add_argument("data", type=Path, metavar="<data>", help="data directory")
    parser.add_argument("log_dir", type=Path, nargs="?", metavar="<log>",
                        help="where the log goes (default: <data>/log)")
    parser.add_argument("ark_dir", type=Path, nargs="?", metavar="<ark-dir>",
                        help="where the ark goes (default: <data>/data)")
    args = parser.parse_args()
    places = [(args.data, args.ark_dir or args.data / "data")]
    places += [(Path(data), Path(data) / "data") for data in args.also.split()]
    stale = []
    for data, ark_dir in places:
        if not (data / "utt2spk").is_file():
            raise SerError(f"{data}/utt2spk: no such file; is {data} a data directory?")
        stats = CmvnStats(data, ark_dir, args.per_utt == "true", args.vad == "true")
        if not stats.is_current():
            stale.append(stats)
        elif args.job is None:
            print(f"{_NAME}: {data}: statistics up to date")
    if args.job is not None:
        for stats in stale:
            print(f"{_NAME}: {stats.data}: {stats.compute()}", flush=True)
    elif stale:
        log = (args.log_dir or args.data / "log") / f"{_NAME}_{args.data.resolve().name}.JOB.log"
        run_jobs(args.cmd, 1, log)
        said = Path(str(log).replace("JOB", "1")).read_text(encoding="utf-8").splitlines()
        print(*(line for line in said if line.startswith(f"{_NAME}: ")), sep="\n")


if __name__ == "__main__":
    run_main(main)
