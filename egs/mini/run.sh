#!/usr/bin/env bash
# The mini recipe: CopyPaste from audio to table on a synthetic corpus that the recipe makes itself, in minutes.
#
# Needs no data and no network once the requirements are installed. README.md says what the corpus is, and what it is
# not: a demonstration of the recipe, no evidence about people.
#
# Usage: egs/mini/run.sh [options]    (--help lists them)
set -euo pipefail
network=(--network tdnn)  # which a laptop trains in a minute; --network resnet takes over ten times as long
[[ " $*" != *" --system"* && " $*" != *" --task"* ]] || network=()
# Copies at other speeds, the default elsewhere, would take three times as long.
exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" \
  --recipe mini --task emotion --emotions "angry happy neutral sad" --scheme "none n+se-cp" \
  --train-data clean "${network[@]}" -- "$@"
