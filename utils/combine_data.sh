#!/usr/bin/env bash
# Join data directories; tables that one of them lacks are left out, and said to be.
# Usage: utils/combine_data.sh <dst> <src1> <src2> …
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python3 "$SER_ROOT/pyscripts/data_dir.py" combine "$@"
