#!/usr/bin/env bash
# CREMA-D (91 actors, 4 classes), one split of 51, 8 and 32 actors; see egs/cremad/README.md.
#
# Usage: egs/cremad/run.sh [options]    (--help lists them)
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" \
  --recipe cremad --task emotion --emotions "angry happy neutral sad" -- "$@"
