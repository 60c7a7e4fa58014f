#!/usr/bin/env bash
# MSP-Podcast (5 classes), the splits of the release; see egs/msp_podcast/README.md.
#
# Usage: egs/msp_podcast/run.sh --corpus-dir DIR [options]    (--help lists them)
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" \
  --recipe msp_podcast --task emotion --emotions "angry disgust happy neutral sad" -- "$@"
