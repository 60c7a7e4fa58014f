#!/usr/bin/env bash
# IEMOCAP (10 speakers, 4 classes), five folds by session; see egs/iemocap/README.md.
#
# Usage: egs/iemocap/run.sh --corpus-dir DIR [options]    (--help lists them)
set -euo pipefail
emotions='angry happy neutral sad'
[[ ! " $* " =~ \ --dataset[=\ ]aesn\  ]] || emotions='angry excited neutral sad'
exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" \
  --recipe iemocap --task emotion --emotions "$emotions" --all-folds "1 2 3 4 5" -- "$@"
