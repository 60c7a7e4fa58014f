#!/usr/bin/env bash
# Task synthesis: a network that says speech after units and styles, trained on some speakers and judged on others.
#
# Usage: local/task_synthesis.sh [options] <verb>, in the work directory
#   folds                 print the folds
#   lists                 check the lists, and that no held-out speaker is trained on
#   sets clean|copies     print the data directories to make features of; there are no copies
#   share clean|copies    give each fold its part of the features
#   train-data            print the training data's name, which stands in the names of runs
#   labels                print the table that has the classes, which here are none: the speakers
#   splits                print a JSON line for each fold: what is trained and tested on
#   score <runs> <job>    have the run of that line of a file (pyscripts/plan_runs.py) say the test set
#   report                print the scores of everything scored so far
#   list-name, copies, training   nothing
#
# Any recipe serves. Of one with folds each is a training of its own, with its training, dev and test speakers; of one
# that trains speaker models, whose dev set has the training speakers, the test set is both dev and test.
set -euo pipefail
# shellcheck source=local/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_options "$@" << 'END'
# Task synthesis
--finetune-on=fold fold|all  what a training has: the training speakers, or all recordings, those of the test speakers
                            too, without their labels, as the paper may have done
--
# Set by run.sh
--recipe= NAME              recipe
--corpus-data=data DIR      not needed here
--data=data DIR             folder of the data directories
--system-block= SECONDS     not needed here
--exp=exp DIR               folder of the runs
--emotions= EMOTIONS        not needed here
--folds= FOLDS              folds, if the recipe has any
--train-data=clean D        not needed here: always clean
--raw= S                    not needed here
--suffix=_synthesis S       what the system appends to the name of a data directory
--musan-dir= DIR            not needed here
--nj=4 N+                   not needed here
--cmd=run.py CMD            not needed here
END
data=${opt[data]} suffix=${opt[suffix]} sets=(train dev test)
[ -z "${opt[folds]}" ] || sets=(all)
of_speakers=false
if grep -q -e '--task speaker' "$SER_ROOT/egs/${opt[recipe]}/run.sh"; then of_speakers=true; fi

check_lists() {
  local set dirs=("$data") dir trained=(train)
  if [ -n "${opt[folds]}" ]; then dirs=(); for fold in ${opt[folds]}; do dirs+=("$data/fold$fold"); done; fi
  [ "$of_speakers" = false ] || trained+=(dev)
  for dir in "${dirs[@]}"; do
    for set in train dev test; do validate_data_dir.sh --no-feats --no-emo "$dir/$set" > /dev/null; done
    for set in "${trained[@]}"; do
      "$SER_ROOT/pyscripts/data_dir.py" check-disjoint "$dir/$set" "$dir/test" > /dev/null
    done
    [ "$of_speakers" = true ] || "$SER_ROOT/pyscripts/data_dir.py" check-disjoint "$dir/train" "$dir/dev" > /dev/null
  done
  echo "no held-out speaker is trained on"
}

share() {
  local fold set
  for fold in ${opt[folds]}; do
    for set in train dev test; do
      cut -d ' ' -f 1 "$data/fold$fold/$set/utt2spk" |
        subset_data_dir.sh --utt-list /dev/stdin "$data/all$suffix" "$data/fold$fold/$set$suffix" > /dev/null
    done
  done
}

print_splits() {
  local dir fold dev=dev train=() each
  for fold in ${opt[folds]:-null}; do
    dir=$data train=(train)
    [ "$fold" = null ] || dir=$data/fold$fold
    if [ "$of_speakers" = true ]; then train=(train dev) dev=test; fi
    [ "${opt[finetune-on]}" = fold ] || train=(train dev test)
    for each in "${!train[@]}"; do train[each]="\"$dir/${train[each]}$suffix\""; done
    echo "{\"fold\": $fold, \"train\": [$(IFS=,; echo "${train[*]}")], \"dev\": \"$dir/$dev$suffix\"," \
      "\"tests\": {\"test\": \"$dir/test$suffix\"}}"
  done
}

case "${args[*]}" in
  list-name | copies | training | 'sets copies' | 'share copies') ;;
  folds) echo "${opt[folds]}" ;;
  lists) check_lists ;;
  'sets clean') printf "$data/%s\n" "${sets[@]}" ;;
  'share clean') share ;;
  train-data) [ "${opt[finetune-on]}" = fold ] && echo clean || echo clean-all ;;
  labels) echo utt2spk ;;
  splits) print_splits ;;
  score\ *) exec "$SER_ROOT/pyscripts/score_synthesis.py" --runs "${args[1]}" --job "${args[2]}" ;;
  report) exec "$SER_ROOT/pyscripts/score_synthesis.py" --report "${opt[exp]}" ;;
  *) die "no verb '${args[*]}' (--help lists them)" ;;
esac
