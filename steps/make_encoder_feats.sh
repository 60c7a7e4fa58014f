#!/usr/bin/env bash
# Hidden states of a pretrained speech encoder as the features of a data directory.
#
# Usage: steps/make_encoder_feats.sh [options] --encoder <folder> <data> [<log> [<ark-dir>]]
#  e.g.: steps/make_encoder_feats.sh --nj 4 --cmd "$train_cmd" --encoder models/hubert-base --layer 6 data/train_hubert
#
# The folder is one that transformers' AutoModel reads as HuBERT, WavLM, wav2vec 2.0, data2vec-audio or Whisper (its
# encoder, on the utterance as it is, not padded to 30 s), with the preprocessor_config.json that says how its input is
# normalised. Reads wav.scp, segments and utt2noise as steps/make_mfcc.sh does, at 16 kHz. Writes feats.scp (Kaldi's
# two-byte compressed matrices), utt2num_frames, utt2dur, frame_shift and conf/encoder.conf in <data>; arks go to
# <ark-dir> (<data>/data), logs to <log> (<data>/log). What an utterance gets depends on no other.
#
# A recording that make_mfcc.sh would drop, one too short for a frame (25 ms) and one that is longer than the encoder
# takes (Whisper: 30 s; others: 60 s) are dropped: named in the log, listed in <log>/make_encoder_feats_<name>.dropped
# and taken out of <data>'s tables (which are kept in <data>/.backup); above a share of --max-drop that is an error, and
# <data> stays as it is. What is up to date is not made again. A GPU is used where the job sees one.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# shellcheck source=utils/parse_options.sh
. "$SER_ROOT/utils/parse_options.sh"
# shellcheck source=steps/feature_jobs.sh
. "$SER_ROOT/steps/feature_jobs.sh"
parse_options "$@" << 'END'
--encoder= DIR           folder of the encoder
--layer= N+              whose hidden states are taken, from 1 (default: the last)
--precision=fp32 fp32|bf16  of the encoder's arithmetic
--nj=4 N+                number of jobs
--cmd=run.py RUNNER      what runs them: run.py, slurm.py … with its options
--also= DIRS             more data directories to do in the same jobs, blank-separated (logs are with the first)
--max-drop=0.01 SHARE    greatest share of utterances that may be dropped
END

if [ ${#args[@]} -lt 1 ] || [ ${#args[@]} -gt 3 ] || [ -z "${opt[encoder]}" ]; then usage >&2; exit 1; fi
data=${args[0]}

also_words "${opt[also]}"
run_feature_jobs "${opt[nj]}" "${opt[cmd]}" "${opt[max-drop]}" make_encoder_feats \
  "$data" "$data" "${args[1]:-$data/log}" "${args[2]:-$data/data}" \
  --encoder "$(realpath "${opt[encoder]}")" --precision "${opt[precision]}" ${opt[layer]:+--layer "${opt[layer]}"} \
  ${also_words[@]+"${also_words[@]}"}
