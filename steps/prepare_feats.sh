#!/usr/bin/env bash
# Features ready for training: mean normalisation, then only the voiced frames.
#
# Usage: steps/prepare_feats.sh [options] <data> <out-data> [<log> [<ark-dir>]]
#  e.g.: steps/prepare_feats.sh --nj 4 --cmd "$train_cmd" data/train data/train_feats
#
# Reads feats.scp and vad.scp of <data>. Writes feats.scp, utt2num_frames, utt2spk, spk2utt, utt2emo, frame_shift and
# conf/mfcc.conf in <out-data>, for the utterances that have voiced frames; arks go to <ark-dir> (<out-data>/data), logs
# to <log> (<out-data>/log). The others are named in the log and listed in <log>/prepare_feats_<name>.dropped; above a
# share of --max-drop that is an error. What is up to date is not made again.
#
# Options
#   --nj N               number of jobs (4)
#   --cmd RUNNER         what runs them: run.py, slurm.py … with its options (run.py)
#   --cmn MODE           sliding: subtract the mean of 300 frames around, as Kaldi's x-vector recipe; utterance: that of
#                        the utterance; none (sliding)
#   --max-drop SHARE     greatest share of utterances that may be dropped (0.01)
set -euo pipefail

nj=4
cmd=run.py
cmn=sliding
max_drop=0.01

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
. "$SER_ROOT/utils/parse_options.sh"
. "$SER_ROOT/steps/feature_jobs.sh"

if [ $# -lt 2 ] || [ $# -gt 4 ]; then
  echo "Usage: steps/prepare_feats.sh [options] <data> <out-data> [<log> [<ark-dir>]] (--help explains)" >&2
  exit 1
fi
out=$2

run_feature_jobs prepare_feats "$1" "$out" "${3:-$out/log}" "${4:-$out/data}" --cmn "$cmn"
