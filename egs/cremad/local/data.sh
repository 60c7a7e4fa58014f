#!/usr/bin/env bash
# Lists of CREMA-D: <data-dir>/train, <data-dir>/dev and <data-dir>/test.
#
# Usage: egs/cremad/local/data.sh [options] <data-dir>
#   --corpus-dir DIR            folder with AudioWAV; one that does not exist is filled from the public repository
#                               (0.6 GB) (default: downloads/cremad beside <data-dir>)
#   --allow-partial true|false  go on when recordings of the four classes are missing (default false)
#   --nj N                      files looked at, or fetched, at the same time (default 4)
#   --cmd CMD                   job runner; not needed here, the lists take seconds
set -euo pipefail
corpus_dir=
allow_partial=false
nj=4
cmd=run.py
. "$(dirname "${BASH_SOURCE[0]}")/../../../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"
[ $# -eq 1 ] || { "$0" --help >&2; exit 1; }

: "$cmd"
exec "$SER_ROOT/egs/cremad/local/prepare.py" --corpus-dir "${corpus_dir:-$(dirname "$1")/downloads/cremad}" \
  --allow-partial "$allow_partial" --nj "$nj" "$1"
