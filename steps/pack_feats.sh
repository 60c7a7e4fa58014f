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
# a packing that was killed starts again from the beginning.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# shellcheck source=utils/parse_options.sh
. "$SER_ROOT/utils/parse_options.sh"
parse_options "$@" << 'END'
--dtype=float16 float16|float32|uint8  type of the frames
                         (float16 takes half the space and keeps 11 significant bits; uint8 is for images)
--cmd=run.py RUNNER      what runs the job: run.py, slurm.py … with its options
END

if [ ${#args[@]} -lt 2 ]; then usage >&2; exit 1; fi
for argument in "${args[@]}"; do
  [[ $argument != --* ]] || die "options such as $argument come first (--help explains)"
done
packed=${args[-1]}
program=(python3 "$SER_ROOT/pyscripts/pack_feats.py" --dtype "${opt[dtype]}")
read -ra runner <<< "${opt[cmd]}"

state=$("${program[@]}" --check "${args[@]}")
if [ -n "$state" ]; then
  echo "$state"
  exit 0
fi
log=$packed/log/pack_feats.log
"${runner[@]}" "$log" "${program[@]}" "${args[@]}"
grep -F -- "$packed: " "$log" | tail -n 1
