#!/usr/bin/env bash
# shellcheck disable=SC2034  # the names below are the driver's
# LibriSpeech: a small, open stand-in for VoxCeleb, for a speaker-recognition model; see egs/librispeech/README.md.
#
# Usage: egs/librispeech/run.sh [options]
#   --corpus-dir DIR            folder with the subsets; fetched (6.7 GB) where it does not exist
#   --train-subsets "S …"       subsets to train on (default train-clean-100)
#   --test-subsets "S …"        subsets whose speakers are tested (default test-other)
#   --dev-speakers N            speakers of whom a chapter is held out for dev, at most (default 500)
#   --num-trials N              trials of one speaker, and of two, for each test recording, at most (default 10)
#   --trial-seed N              which trials (default 0)
#   --allow-partial true|false  go on when recordings are unreadable, leaving them out (default false)
#   --noise-passes N            noisy copies of each utterance, with noise or music at 10, 5 or 0 dB each (default 1)
#   --feature-dtype T           of the packed features that are trained on, float16 or float32 (default float16)
#   --min-utts N                what a speaker needs to be trained on: so many utterances … (default 2)
#   --min-frames N              … of so many voiced frames; shorter ones are left out (default 100)
# and the options of every recipe but --scheme and --folds:
set -euo pipefail
recipe=librispeech
task=speaker
folds=""
corpus_dir=
musan_dir=
train_subsets=train-clean-100
test_subsets=test-other
dev_speakers=500
num_trials=10
trial_seed=0
allow_partial=false
noise_passes=1
feature_dtype=float16
min_utts=2
min_frames=100
data_options="train_subsets test_subsets dev_speakers num_trials trial_seed allow_partial"
. "$(dirname "${BASH_SOURCE[0]}")/../../run.sh"
