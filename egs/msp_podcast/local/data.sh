#!/usr/bin/env bash
# Lists of MSP-Podcast: <data-dir>/train, <data-dir>/dev and <data-dir>/test.
#
# Usage: egs/msp_podcast/local/data.sh --corpus-dir DIR [options] <data-dir>
#   --corpus-dir DIR            folder of the release, with Audios and Labels
#   --allow-partial true|false  go on when audio files are missing or unreadable (default false)
#   --nj N                      files looked at at the same time (default 4)
#   --cmd CMD                   job runner; not needed here, the lists take a minute at most
set -euo pipefail
corpus_dir=
allow_partial=false
nj=4
cmd=run.py
. "$(dirname "${BASH_SOURCE[0]}")/../../../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"
[ $# -eq 1 ] || { "$0" --help >&2; exit 1; }
if [ -z "$corpus_dir" ]; then
  echo "$(basename "$0"): error: MSP-Podcast is licensed and cannot be fetched; say where it is with --corpus-dir" \
    "(see egs/msp_podcast/README.md)" >&2
  exit 1
fi

: "$cmd"
exec "$SER_ROOT/egs/msp_podcast/local/prepare.py" --corpus-dir "$corpus_dir" \
  --allow-partial "$allow_partial" --nj "$nj" "$1"
