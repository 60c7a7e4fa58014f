#!/usr/bin/env bash
# Every step of this folder is a link to this script, which runs the Python program of the link's name: make_mfcc.sh
# runs pyscripts/make_mfcc.py, whose --help explains the step. The program starts its own jobs (--cmd, cmd.sh).
#
# Usage: steps/<step>.sh [options] <data> …
set -euo pipefail
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
name=$(basename "$0" .sh)
if [ "$name" = run_step ]; then sed -n '2,/^$/{/^#/!q;s/^# \{0,1\}//p}' "$0"; exit; fi
exec python3 "$SER_ROOT/pyscripts/$name.py" "$@"
