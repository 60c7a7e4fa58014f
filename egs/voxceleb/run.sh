#!/usr/bin/env bash
# shellcheck disable=SC2034  # the names below are the driver's
# VoxCeleb1 and 2, with NIST SRE and Switchboard if there: a speaker-recognition model; see egs/voxceleb/README.md.
#
# Usage: egs/voxceleb/run.sh --corpus-dir DIR [options]
#   --corpus-dir DIR            folder with VoxCeleb1, VoxCeleb2 or both somewhere below; the paths below count from here
#   --trials FILE               list of trials (default: veri_test.txt or veri_test2.txt in the corpus)
#   --dev-speakers N            speakers of whom a session is held out for dev, at most (default 500)
#   --sre-dirs "DIR …"          NIST SRE 2004 to 2010: releases of LDC, each with the catalogue number in its path, or
#                               as 2004=DIR
#   --sre-table FILE            who speaks in SRE: the list of openslr.org/15, or lines <speaker> <sphere file> <A|B>
#   --swbd-dirs "DIR …"         Switchboard: the same, or phase1=DIR (phase2, phase3, cellular1, cellular2)
#   --swbd-table FILE           who speaks in Switchboard: lines <speaker> <sphere file> <A|B>
#   --allow-partial true|false  go on when files are empty or unusable, leaving them out (default false)
#   --noise-passes N            noisy copies of each utterance, with noise or music at 10, 5 or 0 dB each (default 1)
#   --feature-dtype T           of the packed features that are trained on, float16 or float32 (default float16)
#   --min-utts N                what a speaker needs to be trained on: so many utterances … (default 2)
#   --min-frames N              … of so many voiced frames; shorter ones are left out (default 100)
# and the options of every recipe but --scheme and --folds:
set -euo pipefail
recipe=voxceleb
task=speaker
folds=""
corpus_dir=
musan_dir=
trials=
dev_speakers=500
sre_dirs=
sre_table=
swbd_dirs=
swbd_table=
allow_partial=false
noise_passes=1
feature_dtype=float16
min_utts=2
min_frames=100
data_options="trials dev_speakers sre_dirs sre_table swbd_dirs swbd_table allow_partial"
. "$(dirname "${BASH_SOURCE[0]}")/../../run.sh"
