#!/usr/bin/env bash
# Lists of RAVDESS speech: <data-dir>/all and <data-dir>/fold<k>/{train,dev,test}, k = 1 … 6.
#
# Usage: egs/ravdess/local/data.sh [options] <data-dir>
#   --corpus-dir DIR            folder with Actor_01 … Actor_24; one that does not exist is filled from the public
#                               archive (208 MB) (default: downloads/ravdess beside <data-dir>)
#   --calm neutral|drop         join calm speech to neutral, or leave it out (default neutral)
#   --allow-partial true|false  go on when recordings of the classes used are missing (default false)
#   --nj N                      files looked at at the same time (default 4)
#   --cmd CMD                   job runner; not needed here, the lists take seconds
set -euo pipefail
corpus_dir=
calm=neutral
allow_partial=false
nj=4
cmd=run.py
. "$(dirname "${BASH_SOURCE[0]}")/../../../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"
[ $# -eq 1 ] || { "$0" --help >&2; exit 1; }

: "$cmd"
exec "$SER_ROOT/egs/ravdess/local/prepare.py" --corpus-dir "${corpus_dir:-$(dirname "$1")/downloads/ravdess}" \
  --calm "$calm" --allow-partial "$allow_partial" --nj "$nj" "$1"
