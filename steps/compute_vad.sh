#!/usr/bin/env bash
# Energy voice activity detection on a data directory's features, Kaldi's decisions.
#
# Usage: steps/compute_vad.sh [options] <data> [<log> [<ark-dir>]]
#  e.g.: steps/compute_vad.sh --nj 4 --cmd "$train_cmd" data/train
#
# Reads feats.scp, whose column 0 must be log energy, and writes vad.scp in <data>; arks go to <ark-dir> (<data>/data),
# logs to <log> (<data>/log). Utterances without a single voiced frame are named in the log and listed in
# <log>/compute_vad_<name>.dropped; steps/prepare_feats.sh drops them. Above a share of --max-drop that is an error.
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
--vad-config= FILE       options of Kaldi's compute-vad (default: conf/vad.conf)
--also= DIRS             more data directories to do in the same jobs, blank-separated (logs are with the first)
--max-drop=0.01 SHARE    greatest share of utterances that may have no voiced frame
END

if [ ${#args[@]} -lt 1 ] || [ ${#args[@]} -gt 3 ]; then usage >&2; exit 1; fi
data=${args[0]}

also_words "${opt[also]}"
run_feature_jobs "${opt[nj]}" "${opt[cmd]}" "${opt[max-drop]}" compute_vad \
  "$data" "$data" "${args[1]:-$data/log}" "${args[2]:-$data/data}" \
  --vad-config "${opt[vad-config]:-$SER_ROOT/conf/vad.conf}" \
  ${also_words[@]+"${also_words[@]}"}
