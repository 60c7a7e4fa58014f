#!/usr/bin/env bash
# Lists of LibriSpeech for speaker recognition: <data-dir>/train, <data-dir>/dev, <data-dir>/test and its trials.
#
# Usage: egs/librispeech/local/data.sh [options] <data-dir>
#   --corpus-dir DIR            folder with the subsets; one that does not exist is filled from openslr.org (train-clean-100
#                               6.4 GB, test-other 0.3 GB) (default: downloads/librispeech beside <data-dir>)
#   --train-subsets "S …"       subsets to train on (default train-clean-100)
#   --test-subsets "S …"        subsets whose speakers are tested (default test-other)
#   --dev-speakers N            speakers of whom a chapter is held out for dev, at most (default 500)
#   --num-trials N              trials of one speaker, and of two, for each test recording, at most (default 10)
#   --trial-seed N              which trials (default 0)
#   --allow-partial true|false  go on when recordings are unreadable, leaving them out (default false)
#   --nj N                      files looked at at the same time (default 4)
#   --cmd CMD                   job runner; not needed here, the lists take a minute
set -euo pipefail
corpus_dir=
train_subsets=train-clean-100
test_subsets=test-other
dev_speakers=500
num_trials=10
trial_seed=0
allow_partial=false
nj=4
cmd=run.py
. "$(dirname "${BASH_SOURCE[0]}")/../../../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"
[ $# -eq 1 ] || { "$0" --help >&2; exit 1; }

: "$cmd"
exec "$SER_ROOT/egs/librispeech/local/prepare.py" \
  --corpus-dir "${corpus_dir:-$(dirname "$1")/downloads/librispeech}" --train-subsets "$train_subsets" \
  --test-subsets "$test_subsets" --dev-speakers "$dev_speakers" --num-trials "$num_trials" \
  --trial-seed "$trial_seed" --allow-partial "$allow_partial" --nj "$nj" "$1"
