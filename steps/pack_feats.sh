#!/usr/bin/env bash
# Pack the features of data directories into one file, which training maps into memory instead of reading it.
#
# Usage: steps/pack_feats.sh [options] <data>… <packed-dir>
#  e.g.: steps/pack_feats.sh --cmd "$train_cmd" data/train_voiced data/train_noisy1_voiced data/packed_train
#
# Reads feats.scp and utt2num_frames of every <data> (clean recordings and noisy copies, say; no utterance id may be in
# two of them). Writes frames.bin, an index of it, and the labels of the tables utt2spk and utt2emo that all of them
# have. `train.py --train <packed-dir>` then needs neither the data directories nor their arks. Memory does not grow with
# the features, only with the tables of one data directory (0.5 kB an utterance). What is up to date is not packed again;
# what a killed run left is, from the start.
#
# Options
#   --dtype TYPE         float16: half the space, 11 significant bits; or float32 (float16)
#   --cmd RUNNER         what runs the job: run.py, slurm.py … with its options (run.py)
set -euo pipefail

dtype=float16
cmd=run.py

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"

for argument in "$@"; do
  case $argument in --*) echo "pack_feats.sh: error: options such as $argument come first (--help explains)" >&2; exit 1 ;; esac
done
if [ $# -lt 2 ]; then
  echo "Usage: steps/pack_feats.sh [options] <data>… <packed-dir> (--help explains)" >&2
  exit 1
fi
packed=${!#}
program=$SER_ROOT/pyscripts/pack_feats.py

state=$(python3 "$program" --check --dtype "$dtype" "$@")
if [ -n "$state" ]; then
  echo "$state"
  exit 0
fi
log=$packed/log/pack_feats.log
# shellcheck disable=SC2086 # a runner comes with its options
$cmd "$log" python3 "$program" --dtype "$dtype" "$@"
grep -F -- "$packed: " "$log" | tail -n 1
