#!/usr/bin/env bash
# Features ready for training: mean normalisation, then only the voiced frames.
#
# Usage: steps/prepare_feats.sh [options] <data> <out-data> [<log> [<ark-dir>]]
#  e.g.: steps/prepare_feats.sh --nj 4 --cmd "$train_cmd" data/train data/train_feats
#
# Reads feats.scp and vad.scp of <data>, and with --cmn speaker what steps/compute_cmvn_stats.sh makes. Writes feats.scp,
# utt2num_frames, utt2spk, spk2utt, utt2emo, utt2uniq, frame_shift, conf/mfcc.conf or conf/encoder.conf, and conf/cmn.conf
# in <out-data>, for the utterances that have voiced frames, and with --cmn speaker utt2num_cmvn, the number of recordings behind each one's
# statistics; arks go to <ark-dir> (<out-data>/data), logs to <log> (<out-data>/log). The other utterances are named in
# the log and listed in <log>/prepare_feats_<name>.dropped; above a share of --max-drop that is an error. What is up to
# date is not made again.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# shellcheck source=utils/parse_options.sh
. "$SER_ROOT/utils/parse_options.sh"
# shellcheck source=steps/feature_jobs.sh
. "$SER_ROOT/steps/feature_jobs.sh"
parse_options "$@" << 'END'
--nj=4 N+                number of jobs
--cmd=run.py RUNNER      what runs them: run.py, slurm.py … with its options
--cmn=sliding sliding|utterance|speaker|none  what to subtract
                         (the mean of 300 frames around, as Kaldi's x-vector recipe does, of the utterance, or of the
                         voiced frames of all of the speaker's recordings, as Kaldi's apply-cmvn --utt2spk does)
--cmn-vars=false BOOL    with --cmn speaker divide by the deviations too, as apply-cmvn --norm-vars=true does
--vad=true BOOL          keep the voiced frames, those of vad.scp; false: all frames (hidden states have no VAD)
--compress=false true|two-byte|false  arks of Kaldi's compressed matrices, a quarter of the size or half of it
                         (256 levels for each coefficient between its extremes in the utterance, or 65536 between the
                         extremes of the utterance's matrix)
--also= DIRS             more of them to do in the same jobs: <data>=<out-data>, blank-separated
--max-drop=0.01 SHARE    greatest share of utterances that may be dropped
END

if [ ${#args[@]} -lt 2 ] || [ ${#args[@]} -gt 4 ]; then usage >&2; exit 1; fi
out=${args[1]}

also_words "${opt[also]}"
run_feature_jobs "${opt[nj]}" "${opt[cmd]}" "${opt[max-drop]}" prepare_feats \
  "${args[0]}" "$out" "${args[2]:-$out/log}" "${args[3]:-$out/data}" --cmn "${opt[cmn]}" \
  --cmn-vars "${opt[cmn-vars]}" --vad "${opt[vad]}" --compress "${opt[compress]}" ${also_words[@]+"${also_words[@]}"}
