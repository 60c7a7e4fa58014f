#!/usr/bin/env bash
# shellcheck disable=SC2034  # the names below are the driver's
# IEMOCAP (10 speakers, 4 classes), five folds by session; see egs/iemocap/README.md.
#
# Usage: egs/iemocap/run.sh --corpus-dir DIR [options]
#   --corpus-dir DIR            folder with Session1 … Session5
#   --merge-excited true|false  join excited to happy (default false: left out)
#   --allow-partial true|false  go on when this is not the complete release (default false)
# and the options of every recipe:
set -euo pipefail
recipe=iemocap
task=emotion
emotions="angry happy neutral sad"
folds="1 2 3 4 5"
scheme="none se-cp n-cp n+se-cp"
corpus_dir=
musan_dir=
merge_excited=false
allow_partial=false
data_options="merge_excited allow_partial"
. "$(dirname "${BASH_SOURCE[0]}")/../../run.sh"
