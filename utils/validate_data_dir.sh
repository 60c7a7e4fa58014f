#!/usr/bin/env bash
# Report every problem of a data directory, each with file, line and remedy; exit 1 if there is one.
# Usage: utils/validate_data_dir.sh [--no-feats] [--no-wav] [--no-emo] [--emotions "angry happy …"] <data>
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python3 "$SER_ROOT/pyscripts/data_dir.py" validate "$@"
