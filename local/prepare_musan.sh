#!/usr/bin/env bash
# Make lists of noise and music files for training and for testing out of a MUSAN tree, which is fetched if it is not there.
# Usage: local/prepare_musan.sh [options] <musan-dir> <out-dir>
set -euo pipefail
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
exec python3 "$SER_ROOT/pyscripts/prepare_musan.py" "$@"
