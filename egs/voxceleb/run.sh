#!/usr/bin/env bash
# VoxCeleb1 and 2, with NIST SRE and Switchboard if there: a speaker-recognition model; see egs/voxceleb/README.md.
#
# Usage: egs/voxceleb/run.sh --corpus-dir DIR [options]    (--help lists them)
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" \
  --recipe voxceleb --task speaker --scheme none --train-data clean+noise -- "$@"
