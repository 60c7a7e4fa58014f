#!/usr/bin/env bash
# X-vectors of every utterance: the 400 outputs of the layer before the last of a trained network.
#
# Usage: steps/extract_xvectors.sh [options] <model> <data> <out-dir> [<log> [<ark-dir>]]
#  e.g.: steps/extract_xvectors.sh --nj 4 --cmd "$train_cmd" exp/voxceleb/seed0 data/test_voiced exp/voxceleb/xvectors
#        steps/extract_xvectors.sh --nj 1 --cmd "run.py --gpu 1" --device cuda …
#
# <model> is the folder of a finished training, whose best epoch is used, or a checkpoint; <data> holds features ready
# for training (steps/prepare_feats.sh), made by the same front end as the training's: others are refused.
# Writes Kaldi vectors in <out-dir>: xvector.scp, for each speaker their mean, spk_xvector.scp, and number,
# num_utts.ark, and xvectors.json, which says what network they come from; arks go to <ark-dir> (<out-dir>/data), logs
# to <log> (<out-dir>/log). An utterance without features is an error; those without a frame are named in the log and
# listed in <log>/extract_xvectors_<name>.dropped, and above a share of --max-drop that is an error too. What is up to
# date is not made again, nor what finished jobs left of a run that was killed.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# shellcheck source=utils/parse_options.sh
. "$SER_ROOT/utils/parse_options.sh"
# shellcheck source=steps/feature_jobs.sh
. "$SER_ROOT/steps/feature_jobs.sh"
parse_options "$@" << END
--nj=4 N+                number of jobs
--cmd=run.py RUNNER      what runs them: run.py, slurm.py … with its options
--device=cpu cpu|cuda    with cuda, RUNNER should give each job a GPU
--num-threads=$OMP_NUM_THREADS N+  CPU threads of a job
                         (OMP_NUM_THREADS, if it is set, is the default; tell RUNNER of more than one)
--max-drop=0.01 SHARE    greatest share of utterances that may be without a frame
END

if [ ${#args[@]} -lt 3 ] || [ ${#args[@]} -gt 5 ]; then usage >&2; exit 1; fi
out=${args[2]}

run_feature_jobs "${opt[nj]}" "${opt[cmd]}" "${opt[max-drop]}" extract_xvectors \
  "${args[1]}" "$out" "${args[3]:-$out/log}" "${args[4]:-$out/data}" \
  --model "${args[0]}" --device "${opt[device]}" --num-threads "${opt[num-threads]}"
