#!/usr/bin/env bash
# Copies of training data in other styles: EmoAug's network is fine-tuned to each folder's training speakers, and says
# their utterances as others of the same speaker and emotion were said.
#
# Usage: local/convert_copies.sh [options] copies <name> <lists> <folder>…   make <folder>/<name> of each <folder>/train
#        local/convert_copies.sh [options] finetune <job> <suffix> <folder>… one of its jobs: fine-tune to that folder
#
# What the network reads is made once, of the data directories <lists> (blank-separated), as its own training's was:
# of the same encoder, codebook, speaker encoder and vocoder.
set -euo pipefail
# shellcheck source=local/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_options "$@" << 'END'
# Converted copies
--converter= RUN            folder of a training of task synthesis
--converter-options= WORDS  options of system synthesis over those that it was trained with, where folders have moved, say;
                            full paths, quoted where they have blanks
--converter-config= FILE    training options of its fine-tuning (default: conf/synthesis-finetune.yaml); none: not tuned
--copies=1 N+               of each utterance
--balance=false BOOL        more copies of rarer emotions, so that all are as many
--reject-copies=true BOOL   false: keep copies that have a fault, if they are 0.1 s long
--ngpu= N                   GPUs (default: 1 if this machine has one)
--train-threads= N+         CPU threads of a fine-tuning
--nj=4 N+                   parallel jobs
--cmd=run.py CMD            job runner
END
[ -n "${opt[converter]}" ] || die "--converter: name the folder of a training of task synthesis (run.sh --task synthesis)"
converter=$(absolute "${opt[converter]}")
[ -f "$converter/config.yaml" ] || die "--converter ${opt[converter]}: no config.yaml there; name the folder of a run, …/seed<n>"
tuning=${opt[converter-config]:-$SER_ROOT/conf/synthesis-finetune.yaml}
[ "$tuning" = none ] || { [ -f "$tuning" ] || die "--converter-config $tuning: no such file"; }
opt[num-nodes]=1 opt[num-processes]=1
set_training_device

# What is fine-tuned of another network, or otherwise, is another one.
tuned() { # <folder>
  local of
  if [ "$tuning" = none ]; then echo "$converter"; return; fi
  of=$(cat "$converter/best.pt" "$tuning" | cksum)
  printf '%s/converter-%08x\n' "$1" "${of%% *}"
}

# system_words: print the options of system synthesis that the network was trained with, a word a line.
system_words() {
  local known words work train suffix codebook i found=''
  known=$("$SER_ROOT/local/system_synthesis.sh" --list-options) || exit
  words=$("$SER_ROOT/pyscripts/plan_runs.py" --driver-options "$converter/config.yaml") || exit
  mapfile -t words < <(printf '%s' "$words") # none of a training that run.sh did not plan
  split_words words "${opt[converter-options]}"
  for ((i = 0; i < ${#words[@]}; i += 2)); do
    [ "${words[i]}" != --codebook ] || found=true
    if grep -qxF -e "${words[i]#--}" <<< "$known"; then printf '%s\n' "${words[@]:i:2}"; fi
  done
  [ -z "$found" ] || return 0
  # The codebook that was fitted for it lies beside its training data.
  { read -r work && read -r train; } < <(python3 -c 'import sys, yaml
run = yaml.safe_load(open(sys.argv[1], encoding="utf-8"))["run"]
print(run["work"], run["train"][0], sep="\n")' "$converter/config.yaml")
  suffix=$(basename "$train") train=$(cd "$work" && dirname "$train")
  suffix=${suffix#*_}
  for codebook in "$work/$train/codebook_$suffix.npz" "$work/$(dirname "$train")/codebook_$suffix.npz"; do
    if [ -f "$codebook" ]; then printf '%s\n' --codebook "$codebook"; return; fi
  done
  die "--converter $converter: its codebook is not at $work/$train/codebook_$suffix.npz; name it:" \
    "--converter-options '--codebook FILE'"
}

make_copies() { # <name> <lists> <folder>…
  local name=$1 folders=("${@:3}") folder words vocoder='' i suffix lists runner=("${opt[cmd]}" "${opt[nj]}")
  words=$(system_words)
  mapfile -t words <<< "$words"
  for ((i = 0; i < ${#words[@]}; i += 2)); do
    [ "${words[i]}" != --vocoder ] || vocoder=${words[i + 1]}
  done
  suffix=$("$SER_ROOT/local/system_synthesis.sh" "${words[@]}" suffix)
  read -ra lists <<< "$2"
  guarded "$SER_ROOT/local/system_synthesis.sh" "${words[@]}" --nj "${opt[nj]}" --cmd "${opt[cmd]}" features "${lists[@]}"
  [ "${#lists[@]}" -gt 1 ] || share_with_folders "${lists[0]}$suffix" "$suffix" "${folders[@]}"
  if [ "$tuning" != none ]; then
    mkdir -p "$(dirname "${lists[0]}")/log"
    # shellcheck disable=SC2086  # a runner comes with its options
    guarded ${opt[train-cmd]} "JOB=1:${#folders[@]}" "$(dirname "${lists[0]}")/log/finetune_$name.JOB.log" \
      "$SER_ROOT/local/convert_copies.sh" --converter "$converter" --converter-config "$tuning" --ngpu "${opt[ngpu]}" \
      --train-threads "${opt[train-threads]}" finetune JOB "$suffix" "${folders[@]}"
  fi
  [ "${opt[device]}" = cpu ] || runner=("${opt[score-cmd]}" "${opt[ngpu]}")
  for folder in "${folders[@]}"; do
    guarded convert_data_dir.sh --cmd "${runner[0]}" --nj "${runner[1]}" --model "$(tuned "$folder")" \
      ${vocoder:+--vocoder "$vocoder"} --copies "${opt[copies]}" --balance "${opt[balance]}" \
      --reject "${opt[reject-copies]}" "$folder/train$suffix" "$folder/$name"
  done
}

finetune() { # <job> <suffix> <folder>…
  local folder=${*:$1 + 2:1} suffix=$2
  exec "$SER_ROOT/pyscripts/train.py" --device "${opt[device]}" --num-threads "${opt[train-threads]}" \
    --config "$converter/config.yaml" --config "$tuning" --init "$converter" \
    --train "$folder/train$suffix" --dev "$folder/dev$suffix" --out "$(tuned "$folder")"
}

case ${args[0]:-} in
  copies) make_copies "${args[@]:1}" ;;
  finetune) finetune "${args[@]:1}" ;;
  *) die "expected copies or finetune, not '${args[*]}' (--help explains)" ;;
esac
