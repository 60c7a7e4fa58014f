#!/usr/bin/env bash
# System encoder: a network reads the hidden states of a pretrained speech encoder, made once as features; or the encoder
# is fine-tuned with the network on it, on waveforms.
#
# Usage: local/system_encoder.sh [options] features <data>…    make the features <data><suffix> of data directories
#        local/system_encoder.sh [options] name|suffix|raw     print what names of runs, of directories of features, and
#                                                              of directories of what the encoder gives, or reads, have
#                                                              for these options
#        local/system_encoder.sh [options] plan                print what pyscripts/plan_runs.py is told, a word a line
#        local/system_encoder.sh [options] block               print nothing
#
# The features of every encoder, layer, precision and normalisation have directories of their own; waveforms are the same
# for all encoders that take recordings of one length. Copies (a directory with utt2noise or utt2perturb) are there as
# <data><raw>.
set -euo pipefail
# shellcheck source=local/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_options "$@" << 'END'
# System encoder
--encoder= DIR              pretrained encoder: a folder in transformers' format, or a name on the Hugging Face hub
--encoder-mode=frozen frozen|finetune  frozen: hidden states are made once, and the encoder itself is not trained;
                            finetune: it is, but for its convolutional front end
--encoder-layer= LAYER      whose hidden states are read, from 1 (default: the last); all: those of all layers of a frozen
                            encoder, which need as many times the disk, and of which training learns a weighted mean
--encoder-precision=fp32 fp32|bf16  of a frozen encoder's arithmetic
--cmn=none sliding|utterance|speaker|none  what is subtracted of frozen hidden states: the mean of 6 s around, of the utterance,
                            or of all recordings of the speaker, test speakers too, without labels
--cmn-vars=false BOOL       with --cmn speaker divide by the deviations of those recordings too
--
# Set by run.sh
--recipe-dir= DIR           not needed here
--work-dir=. DIR            folder that <data> counts from
--nj=4 N+                   parallel jobs
--cmd=run.py CMD            job runner
END
verb=${args[0]:-}

[ -n "${opt[encoder]}" ] || die "--encoder: name the folder of a pretrained encoder"
if [ "${opt[cmn-vars]}" = true ] && [ "${opt[cmn]}" != speaker ]; then
  die "--cmn-vars true is for --cmn speaker, not for ${opt[cmn]}"
fi
found=$("$SER_ROOT/pyscripts/find_encoder.py" ${opt[encoder-layer]:+--layer "${opt[encoder-layer]}"} "${opt[encoder]}")
mapfile -t found <<< "$found"
[ "${found[1]}" != all ] || [ "${opt[encoder-mode]}" = frozen ] || die "--encoder-layer all is of --encoder-mode frozen"
name=$(basename "${opt[encoder]}" | tr -c 'A-Za-z0-9.\n' -) plan=()
if [ "${opt[encoder-mode]}" = finetune ]; then
  for option in cmn encoder-precision; do
    [ "${opt[$option]}" = "${opt_default[$option]}" ] || die "--$option is of --encoder-mode frozen"
  done
  raw=_waveforms${found[2]}s suffix=$raw name+=-finetune
  plan=(--system encoder-finetune --encoder "${found[0]}")
  [ -z "${opt[encoder-layer]}" ] || name+=-layer${found[1]} plan+=(--layer "${found[1]}")
else
  name+=-layer${found[1]}
  [ "${found[1]}" != all ] || plan=(--layers "${found[3]}")
  [ "${opt[encoder-precision]}" = fp32 ] || name+=-${opt[encoder-precision]}
  raw=_$name
  [ "${opt[cmn]}" = none ] || name+=-${opt[cmn]}
  [ "${opt[cmn-vars]}" = false ] || name+=-vars
  suffix=_$name
fi

make_features() { # <data>…
  local data jobs=(--nj "${opt[nj]}" --cmd "${opt[cmd]}") made=() pairs=()
  for data in "$@"; do
    if ! is_copy "$data$raw"; then copy_lists "$data" "$data$raw"; fi
    made+=("$data$raw") pairs+=("$data$raw=$data$suffix")
  done
  if [ "${opt[encoder-mode]}" = finetune ]; then
    guarded make_waveforms.sh "${jobs[@]}" --longest "${found[2]}" --also "${made[*]:1}" "${made[0]}"
    return
  fi
  guarded make_encoder_feats.sh "${jobs[@]}" --encoder "${found[0]}" --layer "${found[1]}" \
    --precision "${opt[encoder-precision]}" --also "${made[*]:1}" "${made[0]}"
  [ "${opt[cmn]}" != none ] || return 0
  if [ "${opt[cmn]}" = speaker ]; then
    guarded compute_cmvn_stats.sh --cmd "${opt[cmd]}" --vad false --also "${made[*]:1}" "${made[0]}"
  fi
  guarded prepare_feats.sh "${jobs[@]}" --vad false --compress two-byte --cmn "${opt[cmn]}" --cmn-vars "${opt[cmn-vars]}" \
    --also "${pairs[*]:1}" "${pairs[0]%%=*}" "${pairs[0]#*=}"
}

case $verb in
  name) echo "encoder-$name" ;;
  suffix) echo "$suffix" ;;
  raw) echo "$raw" ;;
  block) ;;
  plan) [ ${#plan[@]} -eq 0 ] || printf '%s\n' "${plan[@]}" ;;
  features)
    cd "${opt[work-dir]}"
    make_features "${args[@]:1}"
    ;;
  *) die "expected features <data>…, name, suffix, raw, block or plan, not '$verb' (--help explains)" ;;
esac
