#!/usr/bin/env bash
# Copies of training data in other emotions, by the converters that EmoAug is compared with: a network is trained on each
# folder's training speakers, and turns their neutral utterances into every other emotion.
#
# Usage: local/rival_copies.sh [options] copies <network> <lists> <folder>…     make <folder>/train_<network> of each
#                                                                             <folder>/train
#        local/rival_copies.sh [options] train <job> <network> <folder>…      one of its jobs: train on that folder
#
# The network is one of system world, cyclegan or stargan. WORLD's features are made once, of the data directories <lists>
# (blank-separated).
set -euo pipefail
# shellcheck source=local/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_options "$@" << 'END'
# Copies in other emotions
--conversion-config= FILE   training options over those of conf/world-<network>.yaml
--reject-copies=true BOOL   false: keep copies that are silent
--ngpu= N                   GPUs (default: 1 if this machine has one)
--train-threads= N+         CPU threads of a training
--nj=4 N+                   parallel jobs
--cmd=run.py CMD            job runner
END
config=${opt[conversion-config]} suffix=_world
[ -z "$config" ] || [ -f "$config" ] || die "--conversion-config $config: no such file"
opt[num-nodes]=1 opt[num-processes]=1
set_training_device
configs() { printf '%s\n' "$SER_ROOT/conf/world-$1.yaml" ${config:+"$config"}; } # <network>

# trained <network> <folder>: print where it is trained; with other options it is another one.
trained() {
  local of
  of=$(configs "$1" | xargs -d '\n' cat | cksum)
  printf '%s/%s-%08x\n' "$2" "$1" "${of%% *}"
}

make_copies() { # <network> <lists> <folder>…
  local network=$1 folders=("${@:3}") folder set sources made=() runner=("${opt[cmd]}" "${opt[nj]}") log
  read -ra sources <<< "$2"
  for set in "${sources[@]}"; do
    copy_lists "$set" "$set$suffix"
    made+=("$set$suffix")
  done
  guarded make_world.sh --nj "${opt[nj]}" --cmd "${opt[cmd]}" --also "${made[*]:1}" "${made[0]}"
  [ "${#sources[@]}" -gt 1 ] || share_with_folders "${made[0]}" "$suffix" "${folders[@]}"
  log=$(dirname "${sources[0]}")/log
  mkdir -p "$log"
  # shellcheck disable=SC2086  # a runner comes with its options
  guarded ${opt[train-cmd]} "JOB=1:${#folders[@]}" "$log/train_$network.JOB.log" "$SER_ROOT/local/rival_copies.sh" \
    --conversion-config "$config" --ngpu "${opt[ngpu]}" --train-threads "${opt[train-threads]}" \
    train JOB "$network" "${folders[@]}"
  [ "${opt[device]}" = cpu ] || runner=("${opt[score-cmd]}" "${opt[ngpu]}")
  for folder in "${folders[@]}"; do
    guarded convert_data_dir.sh --cmd "${runner[0]}" --nj "${runner[1]}" --model "$(trained "$network" "$folder")" \
      --reject "${opt[reject-copies]}" "$folder/train$suffix" "$folder/train_$network"
  done
}

train() { # <job> <network> <folder>…
  local folder=${*:$1 + 2:1} words=() file
  while read -r file; do words+=(--config "$file"); done < <(configs "$2")
  exec "$SER_ROOT/pyscripts/train.py" --device "${opt[device]}" --num-threads "${opt[train-threads]}" --system world \
    --network "$2" "${words[@]}" --train "$folder/train$suffix" --dev "$folder/dev$suffix" --out "$(trained "$2" "$folder")"
}

case ${args[0]:-} in
  copies) make_copies "${args[@]:1}" ;;
  train) train "${args[@]:1}" ;;
  *) die "expected copies or train, not '${args[*]}' (--help explains)" ;;
esac
