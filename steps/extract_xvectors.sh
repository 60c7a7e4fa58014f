#!/usr/bin/env bash
# X-vectors of every utterance: the 400 outputs of the layer before the last of a trained network.
#
# Usage: steps/extract_xvectors.sh [options] <model> <data> <out-dir> [<log> [<ark-dir>]]
#  e.g.: steps/extract_xvectors.sh --nj 4 --cmd "$train_cmd" exp/voxceleb/seed0 data/test_voiced exp/voxceleb/xvectors
#        steps/extract_xvectors.sh --nj 1 --cmd "run.py --gpu 1" --device cuda …
#
# <model> is the folder of a finished training, whose best epoch is used, or a checkpoint; <data> holds features ready
# for training (steps/prepare_feats.sh), made by the same front end as the training's: others are refused.
# Writes Kaldi vectors in <out-dir>: xvector.scp, for each speaker their mean, spk_xvector.scp, and number,
# num_utts.ark, and xvectors.json, which says what network they come from; arks go to <ark-dir> (<out-dir>/data), logs
# to <log> (<out-dir>/log). An utterance without features is an error; those without a frame are named in the log and
# listed in <log>/extract_xvectors_<name>.dropped, and above a share of --max-drop that is an error too. What is up to
# date is not made again, nor what finished jobs left of a run that was killed.
#
# Options
#   --nj N               number of jobs (4)
#   --cmd RUNNER         what runs them: run.py, slurm.py … with its options (run.py)
#   --device D           cpu or cuda; then RUNNER should give each job a GPU (cpu)
#   --num-threads N      CPU threads of a job; RUNNER should be told of more than one ($OMP_NUM_THREADS, else 1)
#   --max-drop SHARE     greatest share of utterances that may be without a frame (0.01)
set -euo pipefail

nj=4
cmd=run.py
device=cpu
num_threads=${OMP_NUM_THREADS:-1}
max_drop=0.01

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"
. "$SER_ROOT/steps/feature_jobs.sh"

if [ $# -lt 3 ] || [ $# -gt 5 ]; then
  echo "Usage: steps/extract_xvectors.sh [options] <model> <data> <out-dir> [<log> [<ark-dir>]] (--help explains)" >&2
  exit 1
fi
out=$3

run_feature_jobs extract_xvectors "$2" "$out" "${4:-$out/log}" "${5:-$out/data}" \
  --model "$1" --device "$device" --num-threads "$num_threads"
