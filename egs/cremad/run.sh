#!/usr/bin/env bash
# shellcheck disable=SC2034  # the names below are the driver's
# CREMA-D (91 actors, 4 classes), one split of 51, 8 and 32 actors; see egs/cremad/README.md.
#
# Usage: egs/cremad/run.sh [options]
#   --corpus-dir DIR            folder with AudioWAV; fetched (0.6 GB) where it does not exist
#   --allow-partial true|false  go on when recordings of the four classes are missing (default false)
# and the options of every recipe:
set -euo pipefail
recipe=cremad
task=emotion
emotions="angry happy neutral sad"
folds=""
scheme="none se-cp n-cp n+se-cp"
corpus_dir=
musan_dir=
allow_partial=false
data_options="allow_partial"
. "$(dirname "${BASH_SOURCE[0]}")/../../run.sh"
