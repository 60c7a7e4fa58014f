#!/usr/bin/env bash
# Features ready for training: mean normalisation, then only the voiced frames.
#
# Usage: steps/prepare_feats.sh [options] <data> <out-data> [<log> [<ark-dir>]]
#    or: steps/prepare_feats.sh [options] --copies "<data> <out-data> <data> <out-data> …"
#  e.g.: steps/prepare_feats.sh --nj 4 --cmd "$train_cmd" data/train data/train_feats
#
# Reads feats.scp and vad.scp of <data>. Writes feats.scp, utt2num_frames, utt2spk, spk2utt, utt2emo, frame_shift and
# conf/mfcc.conf in <out-data>, for the utterances that have voiced frames; arks go to <ark-dir> (<out-data>/data), logs
# to <log> (<out-data>/log). The others are named in the log and listed in <log>/prepare_feats_<name>.dropped; above a
# share of --max-drop that is an error. What is up to date is not made again.
#
# Options
#   --copies "DIR …"     several data directories, each followed by its <out-data>, done by the same jobs, whose logs go
#                        to the first <out-data>/log
#   --nj N               number of jobs (4)
#   --cmd RUNNER         what runs them: run.py, slurm.py … with its options (run.py)
#   --cmn MODE           sliding: subtract the mean of 300 frames around, as Kaldi's x-vector recipe; utterance: that of
#                        the utterance; none (sliding)
#   --compress true      arks of Kaldi's compressed matrices, a quarter of the size: 256 levels for each coefficient
#                        between its extremes in the utterance (false)
#   --max-drop SHARE     greatest share of utterances that may be dropped (0.01)
set -euo pipefail

copies=
nj=4
cmd=run.py
cmn=sliding
max_drop=0.01
compress=false

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"
. "$SER_ROOT/steps/feature_jobs.sh"

read -ra listed <<< "$copies"
if [ ${#listed[@]} -gt 0 ] && [ $((${#listed[@]} % 2)) -eq 0 ] && [ $# -eq 0 ]; then
  set -- "${listed[@]:0:2}"
  for ((i = 2; i < ${#listed[@]}; i += 2)); do
    also+=("${listed[@]:i:2}" "${listed[i + 1]}/log" "${listed[i + 1]}/data")
  done
elif [ -n "$copies" ] || [ $# -lt 2 ] || [ $# -gt 4 ]; then
  echo "Usage: steps/prepare_feats.sh [options] <data> <out-data> [<log> [<ark-dir>]], or" \
    "--copies \"<data> <out-data> …\" (--help explains)" >&2
  exit 1
fi
out=$2

run_feature_jobs prepare_feats "$1" "$out" "${3:-$out/log}" "${4:-$out/data}" --cmn "$cmn" --compress "$compress"
