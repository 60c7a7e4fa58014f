#!/usr/bin/env bash
# Train and score one run, as a job of an array.
# Usage: local/train_and_score.sh <runs> <job>, where line <job> of <runs> is the run (pyscripts/plan_runs.py)
set -euo pipefail
# shellcheck source=local/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_options "$@" < /dev/null
[ ${#args[@]} -eq 2 ] || die "expected <runs> <job> (--help explains)"
trap : TERM # told to stop, wait for a training that is saving
"$SER_ROOT/pyscripts/train.py" --runs "$1" --job "$2"
cd "$(of_runs "$1" work | sed -n "$2p")"
exec "$SER_ROOT/local/task_$(of_runs "$1" task | sed -n "$2p").sh" score "$1" "$2"
