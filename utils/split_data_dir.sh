#!/usr/bin/env bash
# Cut a data directory into consecutive parts <data>/split<n>/<k>, by whole speakers unless there are too few.
# Parts that are right already are left alone.
# Usage: utils/split_data_dir.sh [--per-utt] <data> <n>
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python3 "$SER_ROOT/pyscripts/data_dir.py" split "$@"
