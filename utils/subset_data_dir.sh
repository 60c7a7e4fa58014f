#!/usr/bin/env bash
# Write a part of a data directory.
# Usage: utils/subset_data_dir.sh [--first|--last|--shortest|--per-spk|--speakers] <src> <number> <dst>
#        utils/subset_data_dir.sh --utt-list FILE|--spk-list FILE <src> <dst>
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python3 "$SER_ROOT/pyscripts/data_dir.py" subset "$@"
