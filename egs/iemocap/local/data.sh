#!/usr/bin/env bash
# Lists of IEMOCAP: <data-dir>/all and <data-dir>/fold<k>/{train,dev,test}, k = 1 … 5.
#
# Usage: egs/iemocap/local/data.sh --corpus-dir DIR [options] <data-dir>
#   --corpus-dir DIR            folder with Session1 … Session5
#   --merge-excited true|false  join excited to happy (default false: left out)
#   --allow-partial true|false  go on when this is not the complete release (default false)
#   --nj N                      files looked at at the same time (default 4)
#   --cmd CMD                   job runner; not needed here, the lists take seconds
set -euo pipefail
corpus_dir=
merge_excited=false
allow_partial=false
nj=4
cmd=run.py
. "$(dirname "${BASH_SOURCE[0]}")/../../../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"
[ $# -eq 1 ] || { "$0" --help >&2; exit 1; }
if [ -z "$corpus_dir" ]; then
  echo "$(basename "$0"): error: IEMOCAP is licensed and cannot be fetched; say where it is with --corpus-dir" \
    "(see egs/iemocap/README.md)" >&2
  exit 1
fi

: "$cmd"
exec "$SER_ROOT/egs/iemocap/local/prepare.py" --corpus-dir "$corpus_dir" \
  --merge-excited "$merge_excited" --allow-partial "$allow_partial" --nj "$nj" "$1"
