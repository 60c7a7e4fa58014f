#!/usr/bin/env bash
# Energy voice activity detection on a data directory's features, Kaldi's decisions.
#
# Usage: steps/compute_vad.sh [options] <data> [<log> [<ark-dir>]]
#  e.g.: steps/compute_vad.sh --nj 4 --cmd "$train_cmd" data/train
#
# Reads feats.scp, whose column 0 must be log energy, and writes vad.scp in <data>; arks go to <ark-dir> (<data>/data),
# logs to <log> (<data>/log). Utterances without a single voiced frame are named in the log and listed in
# <log>/compute_vad_<name>.dropped; steps/prepare_feats.sh drops them. Above a share of --max-drop that is an error.
# What is up to date is not made again.
#
# Options
#   --nj N               number of jobs (4)
#   --cmd RUNNER         what runs them: run.py, slurm.py … with its options (run.py)
#   --vad-config FILE    options of Kaldi's compute-vad (conf/vad.conf)
#   --max-drop SHARE     greatest share of utterances that may have no voiced frame (0.01)
set -euo pipefail

nj=4
cmd=run.py
vad_config=
max_drop=0.01

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"
. "$SER_ROOT/steps/feature_jobs.sh"

if [ $# -lt 1 ] || [ $# -gt 3 ]; then
  echo "Usage: steps/compute_vad.sh [options] <data> [<log> [<ark-dir>]] (--help explains)" >&2
  exit 1
fi
data=$1

run_feature_jobs compute_vad "$data" "$data" "${2:-$data/log}" "${3:-$data/data}" \
  --vad-config "${vad_config:-$SER_ROOT/conf/vad.conf}"
