#!/usr/bin/env bash
# IEMOCAP (10 speakers, 4 classes), five folds by session; see egs/iemocap/README.md.
#
# Usage: egs/iemocap/run.sh --corpus-dir DIR [options]    (--help lists them)
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" \
  --recipe iemocap --task emotion --emotions "angry happy neutral sad" --all-folds "1 2 3 4 5" -- "$@"
