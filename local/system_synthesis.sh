#!/usr/bin/env bash
# System synthesis: a network says units in a style; of each utterance it reads units, mel spectrogram, and what its style
# is heard in.
#
# Usage: local/system_synthesis.sh [options] features <data>…    make the features <data><suffix> of data directories
#        local/system_synthesis.sh [options] name|suffix|raw     print what names of runs, of directories of features, and
#                                                                of what they are made from have for these options
#        local/system_synthesis.sh [options] plan                print what pyscripts/plan_runs.py is told, a word a line
#        local/system_synthesis.sh [options] block               print nothing
#
# Without --codebook one is fitted to the first of the data directories, once: codebook<suffix>.npz beside it. What is
# fine-tuned takes that of its pre-training, since units of another are other sounds.
set -euo pipefail
# shellcheck source=local/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_options "$@" << 'END'
# System synthesis
--encoder= DIR              pretrained encoder whose hidden states become units: a folder in transformers' format, or a
                            name on the Hugging Face hub
--encoder-layer= N+         whose hidden states, from 1 (default: the last; HuBERT base: 6, Whisper base: 4)
--codebook= FILE            centres of the units, .npz or .npy (default: fitted to the recipe's recordings)
--num-units=200 N+          … of so many units
--speaker-encoder= DIR      pretrained encoder of styles, which is trained on with the network (--freeze style_encoder: is
                            not): ECAPA-TDNN in SpeechBrain's format, or a GE2E encoder
--vocoder= DIR              HiFi-GAN in SpeechBrain's format, which says what a mel spectrogram is (default: as
                            SpeechBrain's for 16 kHz)
--
# Set by run.sh
--recipe-dir= DIR           not needed here
--work-dir=. DIR            folder that <data> counts from
--nj=4 N+                   parallel jobs
--cmd=run.py CMD            job runner
END
verb=${args[0]:-}

for option in encoder speaker-encoder; do
  [ -n "${opt[$option]}" ] || die "--$option: name the folder of a pretrained $option"
done
[ ! -d "${opt[encoder]}" ] || opt[encoder]=$(absolute "${opt[encoder]}")
encoder=(--encoder "${opt[encoder]}")
[ -z "${opt[encoder-layer]}" ] || encoder+=(--encoder-layer "${opt[encoder-layer]}")
found=$("$SER_ROOT/pyscripts/find_encoder.py" ${opt[encoder-layer]:+--layer "${opt[encoder-layer]}"} "${opt[encoder]}")
mapfile -t found <<< "$found"
codebook=$(absolute "${opt[codebook]}") speaker_encoder=$(absolute "${opt[speaker-encoder]}")
vocoder=$(absolute "${opt[vocoder]}")
word_of() { basename "$1" | tr -c 'A-Za-z0-9.\n' -; }
name=$(word_of "${opt[encoder]}")-layer${found[1]}-${opt[num-units]}
[ -z "$codebook" ] || name=$(word_of "${opt[encoder]}")-layer${found[1]}-$(word_of "${codebook%.*}")
name+=-$(word_of "$speaker_encoder")
[ -z "$vocoder" ] || name+=-$(word_of "$vocoder")
suffix=_synthesis-$name

make_features() { # <data>…
  local data jobs=(--nj "${opt[nj]}" --cmd "${opt[cmd]}") made=() states
  for data in "$@"; do
    copy_lists "$data" "$data$suffix"
    made+=("$data$suffix")
  done
  if [ -z "$codebook" ]; then
    states=$1$("$SER_ROOT/local/system_encoder.sh" "${encoder[@]}" raw) codebook=$(dirname "$1")/codebook$suffix.npz
    guarded "$SER_ROOT/local/system_encoder.sh" "${encoder[@]}" "${jobs[@]}" features "$1"
    guarded fit_codebook.sh --cmd "${opt[cmd]}" --num-units "${opt[num-units]}" "$states" "$codebook"
  fi
  guarded make_mel.sh "${jobs[@]}" ${vocoder:+--vocoder "$vocoder"} --also "${made[*]:1}" "${made[0]}"
  guarded make_styles.sh "${jobs[@]}" --speaker-encoder "$speaker_encoder" --also "${made[*]:1}" "${made[0]}"
  guarded extract_units.sh "${jobs[@]}" --encoder "${found[0]}" --layer "${found[1]}" --codebook "$codebook" \
    --also "${made[*]:1}" "${made[0]}"
}

case $verb in
  name) echo "synthesis-$name" ;;
  suffix) echo "$suffix" ;;
  raw | block) ;;
  plan) printf '%s\n' --encoder "$speaker_encoder" ;;
  features)
    cd "${opt[work-dir]}"
    make_features "${args[@]:1}"
    ;;
  *) die "expected features <data>…, name, suffix, raw, block or plan, not '$verb' (--help explains)" ;;
esac
