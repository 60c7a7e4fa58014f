#!/usr/bin/env bash
# Spectrogram images of a data directory of short blocks (utils/subsegment_data_dir.sh), as bytes of a colour map.
#
# Usage: steps/make_spectrogram.sh [options] <data> <out-data> [<log> [<ark-dir>]]
#  e.g.: steps/make_spectrogram.sh --nj 4 --cmd "$train_cmd" data/train_1s data/train_1s_spec
#
# Reads wav.scp, segments, and utt2noise, whose noise is mixed in at its SNR over the block; then a block is divided by
# its largest magnitude. Writes the tables of <data>, feats.scp, utt2num_frames and conf/spectrogram.conf in <out-data>;
# arks go to <ark-dir> (<out-data>/data), logs to <log> (<out-data>/log). The matrices are Kaldi's of one byte a value
# (CM3): palette indices, a column of the image in each row, from its top down.
#
# A block that is too short ends in silence, and digital silence is one colour; both are counted. One that is longer than
# an image, or no audio, is dropped: named in the log, listed in <log>/make_spectrogram_<name>.dropped; above a share of
# --max-drop that is an error. What is up to date is not made again.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# shellcheck source=utils/parse_options.sh
. "$SER_ROOT/utils/parse_options.sh"
# shellcheck source=steps/feature_jobs.sh
. "$SER_ROOT/steps/feature_jobs.sh"
parse_options "$@" << 'END'
--nj=4 N+                number of jobs
--cmd=run.py RUNNER      what runs them: run.py, slurm.py … with its options
--spectrogram-config= FILE  what the images show (default: conf/spectrogram.conf)
--also= DIRS             more of them to do in the same jobs: <data>=<out-data>, blank-separated
--max-drop=0.01 SHARE    greatest share of blocks that may be dropped
--write-png= DIR         also write <out-data>'s images as PNG, to look at; those there already are kept
END

if [ ${#args[@]} -lt 2 ] || [ ${#args[@]} -gt 4 ]; then usage >&2; exit 1; fi
out=${args[1]}

also_words "${opt[also]}"
run_feature_jobs "${opt[nj]}" "${opt[cmd]}" "${opt[max-drop]}" make_spectrogram \
  "${args[0]}" "$out" "${args[2]:-$out/log}" "${args[3]:-$out/data}" \
  --spectrogram-config "${opt[spectrogram-config]:-$SER_ROOT/conf/spectrogram.conf}" \
  ${also_words[@]+"${also_words[@]}"}
[ -z "${opt[write-png]}" ] || python3 "$SER_ROOT/pyscripts/write_png.py" "$out" "${opt[write-png]}"
