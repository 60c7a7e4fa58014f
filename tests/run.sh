#!/usr/bin/env bash
# Run every test and linter; makes .venv first if no suitable environment is active.
#
# Usage: tests/run.sh [--long] [file or folder of tests, other pytest options]
#   --long                  also the tests that take longer, marked so, in all under an hour
#   SER_SHARED=DIR          where the reference data is (default ../shared); tests that need it skip without
#   SER_REQUIRE_SHARED=1    make such a skip a failure
#   SER_REQUIRE_SLURM=1     the same for the tests of utils/slurm.py, which start a Slurm cluster of their own and need
#                           root, and Debian's slurm-wlm and munge
set -euo pipefail
export SER_DEV=1
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
cd "$SER_ROOT"
case "${1:-}" in -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;; esac
marked=(-m "not long") named=false
if [ "${1:-}" = --long ]; then marked=() && shift; fi
for word in "$@"; do case $word in -*) ;; *) if [ -e "${word%%::*}" ]; then named=true; fi ;; esac; done
if [ "$named" = true ]; then exec python -m pytest -q "${marked[@]}" "$@"; fi # some tests alone, at once
ruff check .
git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck -x
# Three workers on two cores, since tests wait a quarter of their time; a file is one worker's, so that what its tests
# share is made once.
exec python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -q "${marked[@]}" tests "$@"
