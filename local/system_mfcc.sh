#!/usr/bin/env bash
# System mfcc: a network reads MFCC of voiced frames, mean-normalised.
#
# Usage: local/system_mfcc.sh [options] features <data>…    make the features <data><suffix> of data directories
#        local/system_mfcc.sh [options] name|suffix|raw     print what names of runs, of directories of features, and of
#                                                           directories of MFCC before VAD have for these options
#        local/system_mfcc.sh [options] block|plan          print nothing
#
# Features of other options than the default ones have other names, so that none makes another stale. Copies (a
# directory with utt2noise or utt2perturb) are made of <data><raw> and are there as <data><raw>; noisy ones keep the VAD of
# the clean recordings.
set -euo pipefail
# shellcheck source=local/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
read_options() {
  parse_options "$@" << 'END'
# System mfcc
--mfcc-config= FILE         front end (default: egs/NAME/conf/mfcc.conf if there, else conf/mfcc_8k.conf)
--cmn= sliding|utterance|speaker|none  what is subtracted: the mean of 3 s around, of the utterance, or of the voiced
                            frames of all recordings of the speaker, test speakers too, without labels (default: what
                            egs/NAME/conf/cmn.conf says if there, else conf/cmn.conf)
--cmn-vars=false BOOL       with --cmn speaker divide by the deviations of those frames too
--copy-vad=clean clean|own  frames kept of a noisy copy: those of the clean recording's VAD, or its own
--compress=false BOOL       features take a quarter of the space, as Kaldi's compressed matrices
--
# Set by run.sh
--recipe-dir= DIR           folder of the recipe, whose conf/mfcc.conf is the default front end
--work-dir=. DIR            folder that <data> counts from
--nj=4 N+                   parallel jobs
--cmd=run.py CMD            job runner
END
}
read_options "$@"
if [ -z "${opt[cmn]}" ]; then
  cmn_conf=${opt[recipe-dir]}/conf/cmn.conf
  [ -f "$cmn_conf" ] || cmn_conf=$SER_ROOT/conf/cmn.conf
  mapfile -t of_conf < <(sed 's/#.*//; s/[[:space:]]*$//; /^$/d' "$cmn_conf")
  read_options "${of_conf[@]}" "$@"
  [ -n "${opt[cmn]}" ] || die "$cmn_conf: has no line --cmn=…"
fi
if [ "${opt[cmn-vars]}" = true ] && [ "${opt[cmn]}" != speaker ]; then
  die "--cmn-vars true is for --cmn speaker, not for ${opt[cmn]}"
fi
verb=${args[0]:-}

default=$SER_ROOT/conf/mfcc_8k.conf
[ ! -f "${opt[recipe-dir]}/conf/mfcc.conf" ] || default=${opt[recipe-dir]}/conf/mfcc.conf
config=$(absolute "${opt[mfcc-config]:-$default}")
[ -f "$config" ] || die "--mfcc-config ${opt[mfcc-config]}: no such file"

# What differs from the default options: of the front end, of its features altogether, and after VAD.
front_end='' stored='' selected=''
if ! cmp -s "$config" "$default"; then
  front_end=$(basename "$config" .conf | tr -c 'A-Za-z0-9.\n' -)
  front_end=${front_end#mfcc-}
  [[ $front_end = [0-9]* ]] || front_end=-$front_end
  front_end=mfcc$front_end
fi
[ "${opt[compress]}" = false ] || stored+=-compressed
[ "${opt[cmn]}" = sliding ] || selected+=-${opt[cmn]}
[ "${opt[cmn-vars]}" = false ] || selected+=-vars
[ "${opt[copy-vad]}" = clean ] || selected+=-ownvad
suffixed() { local words=${1#-}; echo "${words:+_$words}"; }
raw=$(suffixed "$front_end$stored")
suffix=$(suffixed "$front_end$stored$selected")_voiced

# make_features <data>…: make <data><suffix> of each; one array of jobs does a step on all of them.
make_features() {
  local data made voiced jobs=(--nj "${opt[nj]}" --cmd "${opt[cmd]}") raws=() with_vad=() voiceds=() pairs=()
  for data in "$@"; do
    made=$data$raw
    if [ -n "$raw" ] && ! is_copy "$made"; then copy_lists "$data" "$made"; fi
    raws+=("$made")
  done
  guarded make_mfcc.sh "${jobs[@]}" --compress "${opt[compress]}" --mfcc-config "$config" --also "${raws[*]:1}" "${raws[0]}"
  for data in "$@"; do
    made=$data$raw voiced=$data$raw
    if [ -f "$made/utt2noise" ] && [ "${opt[copy-vad]}" = own ]; then
      voiced=${made}_ownvad # the clean recordings' VAD stays in the other
      mkdir -p "$voiced"
      copy_tables "$made" "$voiced" "${lists[@]}" utt2dur feats.scp utt2num_frames frame_shift conf/mfcc.conf
    fi
    if [ "$voiced" != "$made" ] || [ ! -f "$made/utt2noise" ]; then with_vad+=("$voiced"); fi
    voiceds+=("$voiced") pairs+=("$voiced=$data$suffix")
  done
  if [ ${#with_vad[@]} -gt 0 ]; then
    guarded compute_vad.sh "${jobs[@]}" --also "${with_vad[*]:1}" "${with_vad[0]}"
  fi
  if [ "${opt[cmn]}" = speaker ]; then
    guarded compute_cmvn_stats.sh --cmd "${opt[cmd]}" --also "${voiceds[*]:1}" "${voiceds[0]}"
  fi
  guarded prepare_feats.sh "${jobs[@]}" --compress "${opt[compress]}" --cmn "${opt[cmn]}" --cmn-vars "${opt[cmn-vars]}" \
    --also "${pairs[*]:1}" "${pairs[0]%%=*}" "${pairs[0]#*=}"
}

case $verb in
  name) echo "${front_end:-mfcc}$stored$selected" ;;
  suffix) echo "$suffix" ;;
  raw) echo "$raw" ;;
  block | plan) ;;
  features)
    cd "${opt[work-dir]}"
    make_features "${args[@]:1}"
    ;;
  *) die "expected features <data>…, name, suffix, raw, block or plan, not '$verb' (--help explains)" ;;
esac
