# shellcheck shell=bash
# Environment of every script here; source it from anywhere: `. /path/to/path.sh`.
#
# Puts a Python that has the requirements first on PATH (the active one if it qualifies, else .venv), the project's
# programs on PATH and PYTHONPATH, and asks for one thread a job: jobs, not threads, fill a machine.
SER_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export SER_ROOT
. "$SER_ROOT/utils/setup.sh"
case ":$PATH:" in
  *":$SER_ROOT/utils:"*) ;;
  *) export PATH="$SER_ROOT/utils:$SER_ROOT/steps:$PATH" ;;
esac
export PYTHONPATH="$SER_ROOT/pyscripts"
export LC_ALL=C
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
