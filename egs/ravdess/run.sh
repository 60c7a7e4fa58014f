#!/usr/bin/env bash
# RAVDESS speech (24 actors, 4 classes), six speaker-disjoint folds; see egs/ravdess/README.md.
#
# Usage: egs/ravdess/run.sh [options]    (--help lists them)
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" \
  --recipe ravdess --task emotion --emotions "angry happy neutral sad" --all-folds "1 2 3 4 5 6" -- "$@"
