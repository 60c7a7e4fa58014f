#!/usr/bin/env bash
# Lists of VoxCeleb: <data-dir>/train, <data-dir>/dev, <data-dir>/test and <data-dir>/test/trials.
#
# Usage: egs/voxceleb/local/data.sh --corpus-dir DIR [options] <data-dir>
#   --corpus-dir DIR            folder with VoxCeleb1, VoxCeleb2 or both somewhere below; other paths count from here
#   --trials FILE               list of trials (default: veri_test.txt or veri_test2.txt in the corpus)
#   --dev-speakers N            speakers of whom a session is held out for dev, at most (default 500)
#   --sre-dirs "DIR …"          NIST SRE 2004 to 2010: releases of LDC, each with the catalogue number in its path, or
#                               as 2004=DIR
#   --sre-table FILE            who speaks in SRE: the list of openslr.org/15, or lines <speaker> <sphere file> <A|B>
#   --swbd-dirs "DIR …"         Switchboard: the same, or phase1=DIR (phase2, phase3, cellular1, cellular2)
#   --swbd-table FILE           who speaks in Switchboard: lines <speaker> <sphere file> <A|B>
#   --allow-partial true|false  go on when files are empty or unusable, leaving them out (default false)
#   --nj N                      folders listed at the same time (default 4)
#   --cmd CMD                   job runner; not needed here, the lists take minutes
set -euo pipefail
corpus_dir=
trials=
dev_speakers=500
sre_dirs=
sre_table=
swbd_dirs=
swbd_table=
allow_partial=false
nj=4
cmd=run.py
. "$(dirname "${BASH_SOURCE[0]}")/../../../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"
[ $# -eq 1 ] || { "$0" --help >&2; exit 1; }
if [ -z "$corpus_dir" ]; then
  echo "$(basename "$0"): error: VoxCeleb must be asked for and cannot be fetched; say where it is with --corpus-dir" \
    "(see egs/voxceleb/README.md)" >&2
  exit 1
fi

: "$cmd"
exec "$SER_ROOT/egs/voxceleb/local/prepare.py" --corpus-dir "$corpus_dir" --trials "$trials" \
  --dev-speakers "$dev_speakers" --sre-dirs "$sre_dirs" --sre-table "$sre_table" --swbd-dirs "$swbd_dirs" \
  --swbd-table "$swbd_table" --allow-partial "$allow_partial" --nj "$nj" "$1"
