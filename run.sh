#!/usr/bin/env bash
# CopyPaste for speech emotion recognition (Pappagari et al., ICASSP 2021), from audio to tables.
#
# Usage: ./run.sh [--recipe NAME] [options]      the same as egs/NAME/run.sh [options]
#
#   ./run.sh                                              everything, on a corpus it synthesises itself
#   ./run.sh --recipe ravdess --corpus-dir DIR --musan-dir DIR
#   ./run.sh --recipe ravdess --stage 3 --scheme n+se-cp  one scheme, from training on
#   ./run.sh --recipe voxceleb --corpus-dir DIR --musan-dir DIR    a speaker model, for --init
#
# Stages; each is skipped where its outputs are there and current, so an interrupted command is simply given again
#   0  lists of utterances, speakers and emotions; speakers of train, dev and test are disjoint
#   1  MFCC, energy VAD, mean normalisation, voiced frames
#   2  noisy copies of the training data (noise, music at 10, 5, 0 dB) and of the test data (10, 0 dB)
#   3  training: every scheme, fold and seed asked for
#   4  scores on the clean and noisy test sets
#   5  tables and figures of everything scored so far
# Recipes that train speaker models (librispeech, voxceleb) do likewise: dev has recordings of the training speakers, a
# noisy copy has noise or music at an SNR drawn for each utterance, and stage 4 writes x-vectors and scores trials.
#
# Options
#   --recipe NAME          folder of egs/ (default: mini)
#   --stage N              first stage (default: 0)
#   --stop-stage N         last stage (default: 5)
#   --scheme "S …"         CopyPaste schemes: none, se-cp, n-cp, n+se-cp (default: all four; mini: none n+se-cp)
#   --train-data D         clean, or clean+noise: with the noisy copies (default: clean; speaker models: clean+noise)
#   --init I               random, or the folder of a pre-trained model (default: random)
#   --seeds "N …"          a training for each (default: 0)
#   --folds "K …"          folds of the recipe to train and score, where it has folds (default: all)
#   --corpus-dir DIR       the corpus
#   --musan-dir DIR        MUSAN, for noisy copies; fetched where the folder does not exist (11 GB)
#   --work-dir DIR         where data/ and exp/ go (default: egs/NAME)
#   --config FILE          training options over those of conf/train.yaml and egs/NAME/conf/train.yaml
#   --mfcc-config FILE     front end (default: egs/NAME/conf/mfcc.conf if there, else conf/mfcc_8k.conf)
#   --cmn C                mean normalisation: sliding, utterance or none (default: sliding)
#   --copy-vad V           frames kept of a noisy copy: those of the clean recording's VAD, or its own (default: clean)
#   --compress B           true: features take a quarter of the space, as Kaldi's compressed matrices (default: false)
#   --nj N                 parallel jobs of feature extraction (default: cores of this machine)
#   --ngpu N               GPUs of a training, on each of its nodes (default: 1 if this machine has one)
#   --num-nodes N          nodes of a training, under Slurm; each batch is shared out to all processes (default: 1)
#   --num-processes N      processes of a training without GPU, on each of its nodes (default: 1)
#   --train-threads N      CPU threads of a process of a training (default: 4, or its share of the cores)
#   --commands FILE        run nothing; write the command of every run, training and scores, as a line of FILE
# shellcheck disable=SC2154 # a recipe's variables
set -euo pipefail

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  # Called directly: the recipe's own run.sh gives its names and counts (recipe, emotions, folds, scheme, corpus_dir,
  # musan_dir, data_options and the options that these name), and then sources this file.
  recipe=mini
  arguments=()
  while [ $# -gt 0 ]; do
    case $1 in
      --recipe=*) recipe=${1#*=} ;;
      --recipe) recipe=${2:-}; [ $# -lt 2 ] || shift ;;
      *) arguments+=("$1") ;;
    esac
    shift
  done
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  if [ -z "$recipe" ] || [ ! -f "$root/egs/$recipe/run.sh" ]; then
    echo "run.sh: error: no recipe '$recipe'; there are: $(cd "$root/egs" && echo *)" >&2
    exit 1
  fi
  exec "$root/egs/$recipe/run.sh" ${arguments[@]+"${arguments[@]}"}
fi

stage=0
stop_stage=5
train_data=
init=random
seeds=0
RECIPE_FOLDS=$folds RECIPE_MUSAN_DIR=$musan_dir # what the options may override
work_dir=
config=
mfcc_config=
cmn=sliding
copy_vad=clean
compress=false
nj=$(getconf _NPROCESSORS_ONLN)
ngpu=
num_nodes=1
num_processes=1
train_threads=
commands=

. "$(dirname "${BASH_SOURCE[0]}")/path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"
. "$SER_ROOT/cmd.sh"
. "$SER_ROOT/local/common.sh"

[ $# -eq 0 ] || die "unexpected argument '$1' (--help lists the options)"
[[ $stage =~ ^[0-5]$ && $stop_stage =~ ^[0-5]$ ]] || die "stages are numbers from 0 to 5, not '$stage' to '$stop_stage'"
[ "$stage" -le "$stop_stage" ] || die "--stage $stage comes after --stop-stage $stop_stage: nothing to do"
[[ $nj =~ ^[1-9][0-9]*$ ]] || die "--nj takes a number from 1, not '$nj'"
[[ $cmn =~ ^(sliding|utterance|none)$ ]] || die "--cmn is sliding, utterance or none, not '$cmn'"
[ -n "$seeds" ] || die "--seeds cannot be empty"
for word in $seeds; do
  [[ $word =~ ^(0|[1-9][0-9]*)$ ]] || die "--seeds takes whole numbers, not '$word'"
done
no_word_twice "$seeds"
no_word_twice "$folds"
[ -z "$RECIPE_FOLDS" ] || [ -n "$folds" ] || die "--folds cannot be empty: $recipe has $RECIPE_FOLDS"
for word in $folds; do
  [[ " $RECIPE_FOLDS " = *" $word "* ]] || die "--folds: $recipe has ${RECIPE_FOLDS:-no folds}, not '$word'"
done
[[ $train_data =~ ^(clean(\+noise)?)?$ ]] || die "--train-data is clean or clean+noise, not '$train_data'"
[[ $copy_vad =~ ^(clean|own)$ ]] || die "--copy-vad is clean or own, not '$copy_vad'"
set_training_device

# Paths are the caller's; everything below runs in the work directory.
recipe_dir=$SER_ROOT/egs/$recipe
configs=()
for file in "$recipe_dir/conf/train.yaml" "$(absolute "$config")"; do
  if [ -f "$file" ]; then configs+=(--config "$file")
  elif [ "$file" = "$(absolute "$config")" ] && [ -n "$config" ]; then die "--config $config: no such file"; fi
done
if [ -n "$mfcc_config" ]; then
  mfcc_config=$(absolute "$mfcc_config")
  [ -f "$mfcc_config" ] || die "--mfcc-config $mfcc_config: no such file"
elif [ -f "$recipe_dir/conf/mfcc.conf" ]; then
  mfcc_config=$recipe_dir/conf/mfcc.conf
else
  mfcc_config=$SER_ROOT/conf/mfcc_8k.conf
fi
init_name=random
if [ "$init" != random ]; then
  init=$(absolute "$init")
  [ -f "$init/best.pt" ] || die "--init $init: no best.pt there; name the folder of a pre-trained model, or random"
  # Folders of one name (seed0) are no reason to mix up what started from them.
  init_name=$(basename "$init" | tr -c 'A-Za-z0-9_.\n' _)
  init_name=xvector-$init_name-$(cksum < "$init/best.pt" | awk '{ printf "%08x", $1 }')
fi
corpus_dir=$(absolute "$corpus_dir")
commands=$(absolute "$commands")
# A recipe that makes its own noise names a folder in its work directory.
[ "$musan_dir" = "$RECIPE_MUSAN_DIR" ] || musan_dir=$(absolute "$musan_dir")
work_dir=$(absolute "${work_dir:-$recipe_dir}")
mkdir -p "$work_dir" || die "--work-dir $work_dir: cannot make that folder"
cd "$work_dir"

# What tasks do their own way: check_lists, make_features, make_copies, prepare_training, runs, train_command,
# score_command and report.
# shellcheck source=/dev/null
. "$SER_ROOT/local/task_$task.sh"

started=$SECONDS
begin() { stage_started=$SECONDS; echo "$(date +%T) stage $1: $2"; }
finish() { echo "$(date +%T) stage $1 done in $((SECONDS - stage_started)) s"; }
runs_stage() { [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ]; }
jobs=(--nj "$nj" --cmd "$train_cmd" --compress "$compress") # of steps that write features
features() { # <set>
  guarded make_mfcc.sh "${jobs[@]}" --mfcc-config "$mfcc_config" "data/$1"
  guarded compute_vad.sh --nj "$nj" --cmd "$train_cmd" "data/$1"
  voiced "$1"
}
voiced() { guarded prepare_feats.sh "${jobs[@]}" --cmn "$cmn" "data/$1" "data/$1_voiced"; }
prepare_noise() {
  [ -n "$musan_dir" ] || die "--musan-dir: name a folder with MUSAN (fetched there if the folder does not exist)"
  guarded "$SER_ROOT/local/prepare_musan.sh" "$musan_dir" data/noise
}
words() { printf '%q ' "$@"; echo; }
train() { # <run directory> <seed> <its data, and what else the task wants>
  words ${launcher[@]+"${launcher[@]}"} "$SER_ROOT/pyscripts/train.py" "${@:3}" --seed "$2" --init "$init" \
    ${configs[@]+"${configs[@]}"} --device "$device" --out "$1"
}

if [ -n "$commands" ]; then
  # shellcheck disable=SC2086  # several words
  runs | while read -r run; do
    echo "$(words cd "$work_dir")&& $(train_command $run)&& $(score_command $run)"
  done > "$commands"
  exit
fi

if runs_stage 0; then
  begin 0 "lists of $recipe"
  options=(--nj "$nj" --cmd "$train_cmd")
  [ -z "$corpus_dir" ] || options+=(--corpus-dir "$corpus_dir")
  for name in $data_options; do options+=("--${name//_/-}" "${!name}"); done
  guarded "$recipe_dir/local/data.sh" "${options[@]}" data
  check_lists
  finish 0
fi

if runs_stage 1; then
  begin 1 "MFCC, VAD, normalisation, voiced frames"
  make_features
  finish 1
fi

if runs_stage 2; then
  begin 2 "noisy copies"
  make_copies
  finish 2
fi

# array <name> <function> <options of the runner>: run the command that the function prints of each run as an array of jobs.
array() {
  local commands name
  # shellcheck disable=SC2086  # several words
  commands=$(runs | while read -r run; do "$2" $run; done)
  # Jobs look their command up when they start, which in a queue may be long after: other commands, another file.
  name=exp/log/$1.$(cksum <<< "$commands" | awk '{ printf "%08x", $1 }')
  mkdir -p exp/log
  echo "$commands" > "$name.$$.tmp" && mv "$name.$$.tmp" "$name.commands"
  awk -v name="$name" '{ print "  job " NR ", " name "." NR ".log: " $NF }' "$name.commands"
  guarded run_commands.sh --cmd "$cuda_cmd $3" "$name.commands" "$name.JOB.log"
}

if runs_stage 3; then
  begin 3 "training on $device, $train_data data"
  prepare_training
  array "train_${train_data}_$init_name" train_command "$train_options"
  finish 3
fi

if runs_stage 4; then
  begin 4 "scores on the test sets"
  array "score_${train_data}_$init_name" score_command "$score_options"
  finish 4
fi

if runs_stage 5; then
  begin 5 "tables"
  report
  finish 5
fi
echo "$(date +%T) done in $((SECONDS - started)) s"
