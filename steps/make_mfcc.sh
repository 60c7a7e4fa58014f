#!/usr/bin/env bash
# MFCC features of a data directory, Kaldi's numbers.
#
# Usage: steps/make_mfcc.sh [options] <data> [<log> [<ark-dir>]]
#    or: steps/make_mfcc.sh [options] --copies "<data> <data> …"
#  e.g.: steps/make_mfcc.sh --nj 4 --cmd "$train_cmd" data/train
#        steps/make_mfcc.sh --copies "data/train_noise_snr10 data/train_noise_snr5 data/train_noise_snr0"
#
# Reads wav.scp (any rate and format that libsndfile reads, or Kaldi pipes ending in |), segments, and utt2noise, whose
# noise is mixed in on the way. Recordings of another rate are resampled, several channels averaged, both counted.
# Writes feats.scp, utt2num_frames, utt2dur, frame_shift and conf/mfcc.conf in <data>; arks go to <ark-dir>
# (<data>/data), logs to <log> (<data>/log).
#
# A missing file is an error. A recording that is empty, truncated, no audio, shorter than a frame, or has NaN samples
# is dropped: named in the log, listed in <log>/make_mfcc_<name>.dropped and taken out of <data>'s tables (which are
# kept in <data>/.backup); above a share of --max-drop that is an error too, and <data> stays as it is.
# What is up to date is not made again.
#
# With --copies the jobs do several data directories at once, and where these are copies of the same recordings they
# read each utterance once for all. A directory ends as it would alone, to the last bit; one that is up to date is left
# out.
#
# Options
#   --copies "DIR …"     the data directories, instead of <data>; logs of the jobs go to the first one's log/
#   --nj N               number of jobs (4)
#   --cmd RUNNER         what runs them: run.py, slurm.py … with its options (run.py)
#   --mfcc-config FILE   options of Kaldi's compute-mfcc-feats (conf/mfcc_8k.conf)
#   --compress true      arks of Kaldi's compressed matrices, a quarter of the size: 256 levels for each coefficient
#                        between its extremes in the utterance (false)
#   --max-drop SHARE     greatest share of utterances that may be dropped (0.01)
#   --seed N             of the dither, where the configuration asks for it (0)
set -euo pipefail

copies=
nj=4
cmd=run.py
mfcc_config=
max_drop=0.01
compress=false
seed=0

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"
. "$SER_ROOT/steps/feature_jobs.sh"

read -ra listed <<< "$copies"
if [ ${#listed[@]} -gt 0 ] && [ $# -eq 0 ]; then
  set -- "${listed[0]}"
  for copy in "${listed[@]:1}"; do also+=("$copy" "$copy" "$copy/log" "$copy/data"); done
elif [ -n "$copies" ] || [ $# -lt 1 ] || [ $# -gt 3 ]; then
  echo "Usage: steps/make_mfcc.sh [options] <data> [<log> [<ark-dir>]], or --copies \"<data> …\" (--help explains)" >&2
  exit 1
fi
data=$1

run_feature_jobs make_mfcc "$data" "$data" "${2:-$data/log}" "${3:-$data/data}" \
  --mfcc-config "${mfcc_config:-$SER_ROOT/conf/mfcc_8k.conf}" --seed "$seed" --compress "$compress"
