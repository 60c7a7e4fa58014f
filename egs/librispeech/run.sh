#!/usr/bin/env bash
# LibriSpeech: a small, open stand-in for VoxCeleb, for a speaker-recognition model; see egs/librispeech/README.md.
#
# Usage: egs/librispeech/run.sh [options]    (--help lists them)
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" \
  --recipe librispeech --task speaker --scheme none --train-data clean+noise -- "$@"
