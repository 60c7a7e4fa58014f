#!/usr/bin/env bash
# Run every line of a file of commands as one job of an array.
#
# Usage: utils/run_commands.sh [--cmd CMD] <commands> <log>
#  e.g.: utils/run_commands.sh --cmd "run.py --gpu 1" exp/train.commands exp/log/train.JOB.log
#
# Line n becomes job n; it can be copied to a terminal to run that job alone. All jobs are started even if one fails.
#
# Options
#   --cmd CMD            job runner and its options (run.py)
set -euo pipefail

cmd=run.py

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# A job of the array: the runner calls this script again with the number of its line.
if [ "${1:-}" = --line ]; then
  trap : TERM # told to stop, wait for a command that is saving
  eval "$(sed -n "$2p" "$3")"
  exit
fi
. "$SER_ROOT/utils/old_parse_options.sh"
[ $# -eq 2 ] || { "$0" --help >&2; exit 1; }

jobs=$(wc -l < "$1")
[ "$jobs" -gt 0 ] || exit 0
mkdir -p "$(dirname "$2")"
# shellcheck disable=SC2086  # a runner with options is several words
exec $cmd JOB=1:"$jobs" "$2" "$SER_ROOT/utils/run_commands.sh" --line JOB "$1"
