#!/usr/bin/env bash
# Statistics for normalisation by speaker: Kaldi's, over the voiced frames of each speaker's recordings.
#
# Usage: steps/compute_cmvn_stats.sh [options] <data> [<log> [<ark-dir>]]
#  e.g.: steps/compute_cmvn_stats.sh --cmd "$train_cmd" data/train
#
# Reads feats.scp, vad.scp, utt2spk and, of noisy copies, utt2uniq. Writes cmvn.scp, each speaker's statistics, in
# <data>; the ark goes to <ark-dir> (<data>/data), the log to <log> (<data>/log). Where <data> has several copies of a
# recording (<utt>-noise-snr10 …), each copy of a speaker's recordings has its own statistics, and there is no cmvn.scp;
# <ark-dir>/cmvn_<name>.scp has them all. utt2cmvn says which are an utterance's, as steps/prepare_feats.sh --cmn speaker
# and Kaldi's `apply-cmvn scp:<data>/utt2cmvn …` read it, and utt2num_cmvn of how many recordings they are. What is up to
# date is not made again; a killed step starts again from the beginning.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# shellcheck source=utils/parse_options.sh
. "$SER_ROOT/utils/parse_options.sh"
# shellcheck source=steps/feature_jobs.sh
. "$SER_ROOT/steps/feature_jobs.sh"
parse_options "$@" << 'END'
--cmd=run.py RUNNER      what runs the job: run.py, slurm.py … with its options
--per-utt=false BOOL     statistics of each utterance alone: what a single recording of a stranger can have
--vad=true BOOL          over the voiced frames, those of vad.scp; false: over all frames (hidden states have no VAD)
--also= DIRS             more data directories to do in the same job, blank-separated (the log is with the first)
END

if [ ${#args[@]} -lt 1 ] || [ ${#args[@]} -gt 3 ]; then usage >&2; exit 1; fi
data=${args[0]}

[ -f "$data/utt2spk" ] || die "$data/utt2spk: no such file; is $data a data directory?"
also_words "${opt[also]}"
program=(python3 "$SER_ROOT/pyscripts/compute_cmvn_stats.py" --per-utt "${opt[per-utt]}" --vad "${opt[vad]}"
  ${also_words[@]+"${also_words[@]}"})
log=${args[1]:-$data/log}/compute_cmvn_stats_$(basename "$(realpath "$data")").log
read -ra runner <<< "${opt[cmd]}"

state=$("${program[@]}" --check "$data" "${args[2]:-$data/data}")
to_do=${state##*$'\n'} # the last line
printf %s "${state%"$to_do"}"
[ "$to_do" -gt 0 ] || exit 0
"${runner[@]}" "$log" "${program[@]}" "$data" "${args[2]:-$data/data}"
grep '^compute_cmvn_stats: .* frames$' "$log"
