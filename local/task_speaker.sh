#!/usr/bin/env bash
# Task speaker: a network that tells speakers apart, for pre-training; its x-vectors are scored on trials.
#
# Usage: local/task_speaker.sh [options] <verb>, in the work directory
#   lists                 check the lists of utterances and trials, and that no speaker of test is in train or dev
#   sets clean|copies     print the data directories to make features of
#   share clean|copies    check that the features of the test set are enough for the trials
#   copies                make the noisy copies, as data directories without features
#   training              leave out speakers with too little data, and pack the features
#   train-data            print the training data's name, which stands in the names of runs
#   labels                print the table that has the classes
#   splits                print a JSON line: what is trained and tested on
#   score <runs> <job>    x-vectors and scored trials of the run of that line of a file (pyscripts/plan_runs.py)
#   report                make the table of everything scored so far
#
# Options that are not the default ones make training data of another name, such as clean+noise-passes2-utts8, which
# --train-data understands as well.
set -euo pipefail
# shellcheck source=local/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_options "$@" << 'END'
# Task speaker
--noise-passes=1 N+         noisy copies of each utterance, with noise or music at 10, 5 or 0 dB each
--feature-dtype=float16 float16|float32  of the packed features that are trained on
--min-utts=2 N              what a speaker needs to be trained on: so many utterances …
--min-frames=100 N          … of so many voiced frames; shorter ones are left out
--
# Set by run.sh
--recipe= NAME              recipe
--corpus-data=data DIR      not needed here
--data=data DIR             folder of the data directories
--system-block= SECONDS     not needed here
--exp=exp DIR               folder of the runs
--emotions= EMOTIONS        not needed here
--folds= FOLDS              not needed here
--train-data=clean D        clean, or clean+noise
--raw= S                    what the system appends to the name of a data directory before VAD …
--suffix=_voiced S          … and for its features
--musan-dir= DIR            MUSAN
--nj=4 N+                   not needed here
--cmd=run.py CMD            runner of the job that packs features
END
data=${opt[data]} suffix=${opt[suffix]}

# Options in the training data's name come before those beside it.
train_data=${opt[train-data]%%-*}
[[ $train_data =~ ^clean(\+noise)?$ ]] || die "--train-data is clean or clean+noise, not '${opt[train-data]}'"
for word in $(tr - ' ' <<< "${opt[train-data]#"$train_data"}"); do
  case $word in
    passes[1-9]*) opt[noise-passes]=${word#passes} ;;
    utts[0-9]*) opt[min-utts]=${word#utts} ;;
    frames[0-9]*) opt[min-frames]=${word#frames} ;;
    float16 | float32) opt[feature-dtype]=$word ;;
    *) die "--train-data ${opt[train-data]}: '$word' is none of passes<N>, utts<N>, frames<N>, float32" ;;
  esac
done
variant=''
[ "${opt[noise-passes]}" = 1 ] || variant+=-passes${opt[noise-passes]}
[ "${opt[min-utts]}" = 2 ] || variant+=-utts${opt[min-utts]}
[ "${opt[min-frames]}" = 100 ] || variant+=-frames${opt[min-frames]}
[ "${opt[feature-dtype]}" = float16 ] || variant+=-${opt[feature-dtype]}
kept=${suffix}_kept$variant packed=$data/packed_$train_data$variant$suffix
copies=()
if [ "$train_data" = clean+noise ]; then
  for ((pass = 1; pass <= opt[noise-passes]; pass++)); do copies+=("$data/train_noisy$pass"); done
fi

check_lists() {
  local set
  for set in train dev test; do validate_data_dir.sh --no-feats --no-emo "$data/$set" > /dev/null; done
  for set in train dev; do "$SER_ROOT/pyscripts/data_dir.py" check-disjoint "$data/$set" "$data/test" > /dev/null; done
  "$SER_ROOT/pyscripts/data_dir.py" speaker-counts "$data/train" "$data/dev" "$data/test"
  "$SER_ROOT/pyscripts/score_trials.py" --trials "$data/test/trials" --check "$data/test"
  echo "no speaker of test is in train or dev; $(wc -l < "$data/test/trials") trials"
}

print_sets() {
  # Where recordings are decoded by a program, its absence must not be taken for damage to the recordings.
  if grep -q '^[^ ]* *ffmpeg ' "$data"/*/wav.scp && ! command -v ffmpeg > /dev/null; then
    die "ffmpeg is not on PATH, and recordings of this corpus are decoded by it; install it on every machine that runs jobs"
  fi
  printf "$data/%s\n" train dev test
}

make_copies() {
  local copy
  if [ ${#copies[@]} -eq 0 ]; then echo "none for --train-data clean"; return; fi
  prepare_noise "$data" "$data"
  for copy in "${copies[@]}"; do
    guarded augment_data_dir.sh --snr "10 5 0" --suffix "${copy##*_}" --seed "${copy##*noisy}" \
      "$data/train${opt[raw]}" "$data/noise/noise_train.scp $data/noise/music_train.scp" "$copy${opt[raw]}"
  done
}

prepare_training() {
  local copy to_pack=("$data/train$kept")
  "$SER_ROOT/pyscripts/data_dir.py" filter-speakers --min-utts "${opt[min-utts]}" --min-frames "${opt[min-frames]}" \
    "$data/train$suffix" "$data/train$kept"
  "$SER_ROOT/pyscripts/data_dir.py" filter-speakers --speakers-of "$data/train$kept" "$data/dev$suffix" "$data/dev$kept"
  for copy in "${copies[@]}"; do
    "$SER_ROOT/pyscripts/data_dir.py" filter-speakers --min-frames "${opt[min-frames]}" \
      --speakers-of "$data/train$kept" "$copy$suffix" "$copy$kept"
    to_pack+=("$copy$kept")
  done
  guarded pack_feats.sh --cmd "${opt[cmd]}" --dtype "${opt[feature-dtype]}" "${to_pack[@]}" "$packed"
}

# score <runs> <job>: the trials lie beside the features that the run is tested on.
score() {
  local out test device
  read -r out test device < <(of_runs "$1" out tests.test device | sed -n "$2p")
  guarded extract_xvectors.sh --nj 1 --device "$device" "$out" "$test" "$out/xvectors_test"
  exec "$SER_ROOT/pyscripts/score_trials.py" --trials "$test/trials" --xvectors "$out/xvectors_test" --out "$out/score_test"
}

case "${args[*]}" in
  list-name | folds) ;;
  lists) check_lists ;;
  'sets clean') print_sets ;;
  'sets copies') [ ${#copies[@]} -eq 0 ] || printf '%s\n' "${copies[@]}" ;;
  copies) make_copies ;;
  'share clean')
    "$SER_ROOT/pyscripts/score_trials.py" --trials "$data/test/trials" --check "$data/test$suffix"
    cp "$data/test/trials" "$data/test$suffix/.trials" && mv "$data/test$suffix/.trials" "$data/test$suffix/trials"
    ;;
  'share copies') ;;
  training) prepare_training ;;
  train-data) echo "$train_data$variant" ;;
  labels) echo utt2spk ;;
  splits)
    echo "{\"fold\": null, \"train\": [\"$packed\"], \"dev\": \"$data/dev$kept\", \"tests\": {\"test\": \"$data/test$suffix\"}}"
    ;;
  score\ *) score "${args[1]}" "${args[2]}" ;;
  report) exec "$SER_ROOT/pyscripts/report_verification.py" --exp-dir "${opt[exp]}" ;;
  *) die "no verb '${args[*]}' (--help lists them)" ;;
esac
