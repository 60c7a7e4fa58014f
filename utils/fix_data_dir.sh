#!/usr/bin/env bash
# Sort the tables of a data directory and drop utterances that are not in all of them, naming those; the files as
# they were are kept in <data>/.backup.
# Usage: utils/fix_data_dir.sh <data>
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python3 "$SER_ROOT/pyscripts/data_dir.py" fix "$@"
