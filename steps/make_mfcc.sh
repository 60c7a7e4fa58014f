#!/usr/bin/env bash
# MFCC features of a data directory, Kaldi's numbers.
#
# Usage: steps/make_mfcc.sh [options] <data> [<log> [<ark-dir>]]
#  e.g.: steps/make_mfcc.sh --nj 4 --cmd "$train_cmd" data/train
#
# Reads wav.scp (any rate and format that libsndfile reads, or Kaldi pipes ending in |), segments, and utt2noise, whose
# noise is mixed in on the way. Recordings of another rate are resampled, several channels averaged, both counted; a
# recording is decoded once for consecutive segments or noisy copies of it. Writes feats.scp, utt2num_frames, utt2dur,
# frame_shift and conf/mfcc.conf in <data>; arks go to <ark-dir> (<data>/data), logs to <log> (<data>/log).
#
# A missing file is an error. A recording that is empty, truncated, no audio, shorter than a frame, or has NaN samples
# is dropped: named in the log, listed in <log>/make_mfcc_<name>.dropped and taken out of <data>'s tables (which are
# kept in <data>/.backup); above a share of --max-drop that is an error too, and <data> stays as it is.
# What is up to date is not made again.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# shellcheck source=utils/parse_options.sh
. "$SER_ROOT/utils/parse_options.sh"
# shellcheck source=steps/feature_jobs.sh
. "$SER_ROOT/steps/feature_jobs.sh"
parse_options "$@" << 'END'
--nj=4 N+                number of jobs
--cmd=run.py RUNNER      what runs them: run.py, slurm.py … with its options
--mfcc-config= FILE      options of Kaldi's compute-mfcc-feats (default: conf/mfcc_8k.conf)
--compress=false BOOL    arks of Kaldi's compressed matrices, a quarter of the size
                         (256 levels for each coefficient between its extremes in the utterance)
--also= DIRS             more data directories to do in the same jobs, blank-separated (logs are with the first)
--max-drop=0.01 SHARE    greatest share of utterances that may be dropped
--seed=0 N               of the dither, where the configuration asks for it
END

if [ ${#args[@]} -lt 1 ] || [ ${#args[@]} -gt 3 ]; then usage >&2; exit 1; fi
data=${args[0]}

also_words "${opt[also]}"
run_feature_jobs "${opt[nj]}" "${opt[cmd]}" "${opt[max-drop]}" make_mfcc \
  "$data" "$data" "${args[1]:-$data/log}" "${args[2]:-$data/data}" \
  --mfcc-config "${opt[mfcc-config]:-$SER_ROOT/conf/mfcc_8k.conf}" --seed "${opt[seed]}" --compress "${opt[compress]}" \
  ${also_words[@]+"${also_words[@]}"}
