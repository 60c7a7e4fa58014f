#!/usr/bin/env bash
# shellcheck disable=SC2034  # the names below are the driver's
# MSP-Podcast (5 classes), the splits of the release; see egs/msp_podcast/README.md.
#
# Usage: egs/msp_podcast/run.sh --corpus-dir DIR [options]
#   --corpus-dir DIR            folder of the release, with Audios and Labels
#   --allow-partial true|false  go on when audio files are missing or unreadable (default false)
# and the options of every recipe:
set -euo pipefail
recipe=msp_podcast
task=emotion
emotions="angry disgust happy neutral sad"
folds=""
scheme="none se-cp n-cp n+se-cp"
corpus_dir=
musan_dir=
allow_partial=false
data_options="allow_partial"
. "$(dirname "${BASH_SOURCE[0]}")/../../run.sh"
