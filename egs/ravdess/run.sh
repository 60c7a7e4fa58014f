#!/usr/bin/env bash
# shellcheck disable=SC2034  # the names below are the driver's
# RAVDESS speech (24 actors, 4 classes), six speaker-disjoint folds; see egs/ravdess/README.md.
#
# Usage: egs/ravdess/run.sh [options]
#   --corpus-dir DIR            folder with Actor_01 … Actor_24; fetched (208 MB) where it does not exist
#   --calm neutral|drop         join calm speech to neutral, or leave it out (default neutral)
#   --allow-partial true|false  go on when recordings of the classes used are missing (default false)
# and the options of every recipe:
set -euo pipefail
recipe=ravdess
task=emotion
emotions="angry happy neutral sad"
folds="1 2 3 4 5 6"
scheme="none se-cp n-cp n+se-cp"
corpus_dir=
musan_dir=
calm=neutral
allow_partial=false
data_options="calm allow_partial"
. "$(dirname "${BASH_SOURCE[0]}")/../../run.sh"
