#!/usr/bin/env bash
# MFCC features of a data directory, Kaldi's numbers.
#
# Usage: steps/make_mfcc.sh [options] <data> [<log> [<ark-dir>]]
#  e.g.: steps/make_mfcc.sh --nj 4 --cmd "$train_cmd" data/train
#
# Reads wav.scp (any rate and format that libsndfile reads, or Kaldi pipes ending in |), segments, and utt2noise, whose
# noise is mixed in on the way. Recordings of another rate are resampled, several channels averaged, both counted.
# Writes feats.scp, utt2num_frames, utt2dur, frame_shift and conf/mfcc.conf in <data>; arks go to <ark-dir>
# (<data>/data), logs to <log> (<data>/log).
#
# A missing file is an error. A recording that is empty, truncated, no audio, shorter than a frame, or has NaN samples
# is dropped: named in the log, listed in <log>/make_mfcc_<name>.dropped and taken out of <data>'s tables (which are kept
# in <data>/.backup); above a share of --max-drop that is an error too, and <data> stays as it is.
# What is up to date is not made again.
#
# Options
#   --nj N               number of jobs (4)
#   --cmd RUNNER         what runs them: run.py, slurm.py … with its options (run.py)
#   --mfcc-config FILE   options of Kaldi's compute-mfcc-feats (conf/mfcc_8k.conf)
#   --max-drop SHARE     greatest share of utterances that may be dropped (0.01)
#   --seed N             of the dither, where the configuration asks for it (0)
set -euo pipefail

nj=4
cmd=run.py
mfcc_config=
max_drop=0.01
seed=0

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
. "$SER_ROOT/utils/parse_options.sh"
. "$SER_ROOT/steps/feature_jobs.sh"

if [ $# -lt 1 ] || [ $# -gt 3 ]; then
  echo "Usage: steps/make_mfcc.sh [options] <data> [<log> [<ark-dir>]] (--help explains)" >&2
  exit 1
fi
data=$1

run_feature_jobs make_mfcc "$data" "$data" "${2:-$data/log}" "${3:-$data/data}" \
  --mfcc-config "${mfcc_config:-$SER_ROOT/conf/mfcc_8k.conf}" --seed "$seed"
