#!/usr/bin/env bash
# Make the mini corpus: synthesise its audio, noise and music, and write its lists.
#
# Usage: egs/mini/local/data.sh [options] <data-dir>
#   --corpus-dir DIR   where the speech goes (default <data-dir>/local/corpus)
#   --cmd CMD          job runner (default utils/run.py, on this machine)
#   --nj N             jobs at most (default 2)
#
# Leaves <data-dir>/{train,dev,test}, the speech, and noise and music in MUSAN's layout in <data-dir>/local/musan. The
# same bytes whatever --nj is; what is there already is not made again.
set -euo pipefail

corpus_dir=
cmd=run.py
nj=2
. "$(dirname "${BASH_SOURCE[0]}")/../../../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"

if [ $# != 1 ]; then
  echo "$0: error: expected one argument, <data-dir>; see --help" >&2
  exit 1
fi
[[ $nj =~ ^[1-9][0-9]*$ ]] || { echo "$0: error: --nj $nj is not a positive number" >&2; exit 1; }
mkdir -p "$1"
data_dir=$(cd "$1" && pwd)
corpus_dir=${corpus_dir:-$data_dir/local/corpus}
here=$SER_ROOT/egs/mini/local
audio=("$corpus_dir" "$data_dir/local/musan")

pending=$("$here/synthesize.py" --pending "${audio[@]}")
if [ "$pending" = 0 ]; then
  echo "mini: the audio in $corpus_dir is up to date"
else
  ((nj <= pending)) || nj=$pending
  # shellcheck disable=SC2086  # --cmd is a runner with its options
  $cmd JOB=1:"$nj" "$data_dir/local/log/synthesize.JOB.log" \
    "$here/synthesize.py" --num-jobs "$nj" --job JOB "${audio[@]}"
  pending=$("$here/synthesize.py" --pending "${audio[@]}")
  if [ "$pending" != 0 ]; then
    echo "$0: error: $pending folders of audio are missing after synthesis; see $data_dir/local/log" >&2
    exit 1
  fi
fi
"$here/make_lists.py" "$corpus_dir" "$data_dir"
