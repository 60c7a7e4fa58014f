#!/usr/bin/env bash
# Speech emotion recognition, from audio to tables: CopyPaste (Pappagari et al., ICASSP 2021).
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
#   1  features of the system; mfcc: MFCC, energy VAD, mean normalisation, voiced frames
#   2  copies of the training data that --train-data names (with noise and music at 10, 5, 0 dB; at other speeds; of
#      other pitch; of other vocal tracts; in other styles; in other emotions), and of the test data with noise (10, 0 dB)
#   3  training: every scheme, fold and seed asked for
#   4  scores on the clean, diluted and noisy test sets
#   5  tables and figures of everything scored so far
# Recipes that train speaker models (librispeech, voxceleb) do likewise: dev has recordings of the training speakers, a
# noisy copy has noise or music at an SNR drawn for each utterance, and stage 4 writes x-vectors and scores trials.
#
# Options of a system, a task, a corpus and a training are declared by local/system_<system>.sh, local/task_<task>.sh,
# egs/NAME/local/prepare.py and conf/train.yaml, and may stand among those of this script.
set -euo pipefail
# shellcheck source=local/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/local/common.sh"

read_options() {
  parse_options "$@" << END
# What to run
--recipe=mini NAME          folder of egs/
--stage=0 0|1|2|3|4|5       first stage
--stop-stage=5 0|1|2|3|4|5  last stage
--system= NAME              what a network reads: a system of the list below (default: mfcc; task synthesis: synthesis)
--network= NAME             the network that reads it (default: the system's first)
--scheme='none se-cp n-cp n+se-cp' SCHEMES  of CopyPaste
--train-data= D             clean, or with copies of it, of any of the kinds noise, speed (at 0.9 and 1.1 times the
                            rate), pitch (2 semitones up or down), vtlp (vocal tract length perturbation), emoaug1,
                            emoaug2 … (so many in other styles, see --converter), cyclegan and stargan (neutral
                            utterances in each other emotion, by a converter that is trained for it), as in clean+noise
                            or clean+speed+vtlp; task speaker: clean or clean+noise (default: clean; emotions in system
                            mfcc: clean+speed, by which its networks learn most, unless the recipe says otherwise)
--init= I                   random, imagenet, or the folder of a pre-trained model (default: random; imagenet for systems
                            of images, the pretrained encoder for what is trained on with one)
--weights= FILE             ImageNet weights of the network under torchvision's names, .pth, .npz or .safetensors
                            (default: torchvision's, in PyTorch's cache or fetched)
--seeds=0 SEEDS             a training for each
--folds= FOLDS               folds to train and score, where the recipe has folds (default: all)
--config= FILE              training options over those of conf/train.yaml and egs/NAME/conf/train.yaml; the config.yaml
                            of a run makes that run again
--tag= T                    ends the names of the runs' folders, beside runs of other training options
--baseline=true BOOL        beside the networks of system mfcc on emotions, train and score what they have to beat: system
                            functionals, on the same features and folds
--score-run= RUN            train nothing: score this finished run of another corpus on the tests of this one, over the
                            classes of both; its system, with the options of that, is taken from the run
--plan= FILE                run nothing; write a JSON line of every run to FILE
# Where
--corpus-dir= DIR           the corpus
--musan-dir= DIR            MUSAN, for noisy copies; fetched where the folder does not exist (11 GB)
--work-dir= DIR             where data/ and exp/ go (default: egs/NAME)
# Machines (cmd.sh chooses them)
--nj=$(getconf _NPROCESSORS_ONLN) N+     parallel jobs of feature extraction
--ngpu= N                   GPUs of a training, on each of its nodes (default: 1 if this machine has one)
--num-nodes=1 N+            nodes of a training, under Slurm; each batch is shared out to all processes
--num-processes=1 N+        processes of a training without GPU, on each of its nodes
--train-threads= N+         CPU threads of a process of a training (default: 4, or its share of the cores)
# Facts of a corpus, which its recipe states
--task= T                   emotion or speaker; synthesis on any corpus: a network that says speech, for EmoAug
--emotions= EMOTIONS         classes (default: those that occur)
--all-folds= FOLDS           its folds, if it has any
--*
END
}

system_of_task() { if [ "${opt[task]}" = synthesis ]; then echo synthesis; else echo mfcc; fi; }

more_usage() {
  local owner tasks=("$SER_ROOT"/local/task_*.sh)
  [ -z "${opt[task]}" ] || tasks=("$SER_ROOT/local/task_${opt[task]}.sh")
  for owner in "$SER_ROOT/local/system_${opt[system]:-$(system_of_task)}.sh" "${tasks[@]}" "$SER_ROOT/egs/${opt[recipe]}/local/prepare.py"; do
    [ ! -x "$owner" ] || "$owner" --help-options
  done
  printf '%s\n' "Training, which conf/train.yaml explains" \
    "$("$SER_ROOT/pyscripts/plan_runs.py" --list-options | sed 's/^/--/' | fmt -w 112 | sed 's/^/  /')" \
    "Systems, each with its networks" "$("$SER_ROOT/pyscripts/plan_runs.py" --list-systems | sed 's/^/  /')"
}

read_options "$@"
# A recipe calls this script with its facts, `--`, and the user's words, which beat them.
facts=$(($# - ${#args[@]} - 1)) stated=''
if [ "$facts" -gt 0 ] && [ "${*:facts + 1:1}" = -- ]; then
  stated=${opt[recipe]}
  set -- "${@:1:facts}" "${args[@]}"
  read_options "$@"
else
  facts=0
fi

# The config.yaml of an earlier run stands for the options that made the run; the user's words beat it.
config=${opt[config]} of_config=() work_dir=$(absolute "${opt[work-dir]:-$SER_ROOT/egs/${opt[recipe]}}")
if [ -n "$config" ] && { [ "$facts" -gt 0 ] || [ -f "$config" ]; }; then
  config=$(config_file "$config" "$work_dir/exp/runs")
  words=$("$SER_ROOT/pyscripts/plan_runs.py" --driver-options "$config")
  if [ -n "$words" ]; then
    of_recipe=$(sed -n '/^--recipe$/{n;p}' <<< "$words")
    mapfile -t of_config <<< "$words"
    read_options "${@:1:facts}" "${of_config[@]}" "${@:facts+1}"
    work_dir=$(absolute "${opt[work-dir]:-$SER_ROOT/egs/${opt[recipe]}}")
  fi
fi

recipe=${opt[recipe]} recipe_dir=$SER_ROOT/egs/${opt[recipe]}
if [ -z "$recipe" ] || [ ! -f "$recipe_dir/run.sh" ]; then
  die "no recipe '$recipe'; there are: $(cd "$SER_ROOT/egs" && echo *)"
fi
if [ "${of_recipe:-$recipe}" != "$recipe" ]; then
  die "--config ${opt[config]}: a run of the recipe $of_recipe, not of $recipe"
fi
if [ "$facts" -eq 0 ]; then
  # Called directly: the recipe adds its facts and calls back.
  [ "${SER_RECIPE:-}" != "$recipe" ] || die "egs/$recipe/run.sh does not state its facts, followed by --"
  SER_RECIPE=$recipe exec "$recipe_dir/run.sh" "${of_config[@]}" "$@"
fi
unset SER_RECIPE
score_run=$(absolute "${opt[score-run]}") of_tests=()
if [ -n "$score_run" ]; then
  # What makes the run's features stands for options of this command; the user's words beat it.
  [ "${opt[task]}" = emotion ] || die "--score-run scores emotions; $recipe has speakers"
  [ -f "$score_run/config.yaml" ] || die "--score-run ${opt[score-run]}: no config.yaml there; name the folder of a run, …/seed<n>"
  words=$("$SER_ROOT/pyscripts/plan_runs.py" --driver-options "$score_run/config.yaml")
  mapfile -t words <<< "$words"
  of_run=() of_system='' of_tests=(--tests-only true)
  for ((i = 0; i < ${#words[@]}; i += 2)); do
    case ${words[i]} in
      --system) of_run+=("${words[@]:i:2}") of_system=$("$SER_ROOT/local/system_${words[i + 1]}.sh" --list-options) ;;
      --network) of_run+=("${words[@]:i:2}") ;;
      *) if grep -qxF -e "${words[i]#--}" <<< "$of_system"; then of_run+=("${words[@]:i:2}"); fi ;;
    esac
  done
  read_options "${@:1:facts}" "${of_run[@]}" "${of_config[@]}" "${@:facts+1}"
fi
[ "$recipe" = "$stated" ] || die "--recipe $recipe: this is the recipe $stated; call ./run.sh, or egs/$recipe/run.sh"
[ ${#args[@]} -eq 0 ] || die "unexpected argument '${args[0]}' (--help lists the options)"
[ "${opt[stage]}" -le "${opt[stop-stage]}" ] ||
  die "--stage ${opt[stage]} comes after --stop-stage ${opt[stop-stage]}: nothing to do"
opt[system]=${opt[system]:-$(system_of_task)}
task_program=$SER_ROOT/local/task_${opt[task]}.sh system_program=$SER_ROOT/local/system_${opt[system]}.sh
[ -f "$task_program" ] || die "--task: egs/$recipe/run.sh states '${opt[task]}', for which there is no ${task_program#"$SER_ROOT/"}"
systems=$("$SER_ROOT/pyscripts/plan_runs.py" --list-systems)
read -ra networks <<< "$(grep -e "^${opt[system]} " <<< "$systems")"
[ ${#networks[@]} -gt 0 ] || die "--system is one of $(cut -d ' ' -f 1 <<< "$systems" | xargs), not '${opt[system]}'"
network=${opt[network]:-${networks[1]}}
[[ " ${networks[*]:1} " = *" $network "* ]] || die "--network of ${opt[system]} is one of ${networks[*]:1}, not '$network'"
if [ -z "${opt[train-data]}" ]; then
  opt[train-data]=clean
  [ "${opt[task]}${opt[system]}$score_run" != emotionmfcc ] || opt[train-data]=clean+speed
fi
[ -z "$(xargs -n 1 <<< "${opt[folds]}" | sort | uniq -d)" ] || die "--folds: one is given twice in '${opt[folds]}'"
folds=${opt[all-folds]}
set_training_device

# Options that this script does not list go to the program that declares them.
for_system=() for_task=() for_corpus=() for_training=()
# Where the recipe does not state the classes, its prepare.py chooses them.
[ -z "${opt[emotions]}" ] || [[ " ${*:1:facts} " = *" --emotions "* ]] || others+=(--emotions "${opt[emotions]}")
if [ ${#others[@]} -gt 0 ]; then
  of_system=$("$system_program" --list-options) of_task=$("$task_program" --list-options)
  of_corpus=$("$recipe_dir/local/prepare.py" --list-options)
  of_training=$("$SER_ROOT/pyscripts/plan_runs.py" --list-options)
fi
# Folders and files among them are the caller's, too.
for ((i = 1; i < ${#others[@]}; i += 2)); do
  if [[ ${others[i]} = *[/.]* && -e ${others[i]} ]]; then others[i]=$(absolute "${others[i]}"); fi
done
declares() { grep -qxF -e "${others[i]#--}" <<< "$1"; }
declare -A last=()
for ((i = 0; i < ${#others[@]}; i += 2)); do last[${others[i]}]=$i; done
for ((i = 0; i < ${#others[@]}; i += 2)); do
  if [ "${last[${others[i]}]}" -ne "$i" ]; then continue  # said again later
  elif declares "$of_system"; then for_system+=("${others[@]:i:2}")
  elif declares "$of_task"; then for_task+=("${others[@]:i:2}")
  elif declares "$of_corpus"; then for_corpus+=("${others[@]:i:2}")
  elif declares "$of_training"; then for_training+=("${others[@]:i:2}")
  else
    for owner in "$SER_ROOT"/egs/*/local/prepare.py; do
      if declares "$("$owner" --list-options)"; then
        other=${owner#"$SER_ROOT/egs/"}
        die "unknown option ${others[i]}: the corpus ${other%%/*} has it, $recipe has no such thing (--help lists the options)"
      fi
    done
    die "unknown option ${others[i]} (--help lists the options)"
  fi
done

# Paths are the caller's; everything below but the system's programs runs in the work directory.
caller=$PWD
init=${opt[init]} corpus_dir=$(absolute "${opt[corpus-dir]}") musan_dir=$(absolute "${opt[musan-dir]}")
plan=$(absolute "${opt[plan]}")
case $init in '' | random | imagenet) ;; *) init=$(absolute "$init") ;; esac
mkdir -p "$work_dir" || die "--work-dir $work_dir: cannot make that folder"
cd "$work_dir"

# Lists and features of other options than the default ones have folders of their own.
jobs=(--nj "${opt[nj]}" --cmd "$train_cmd")
data=data exp=exp
named() { data+=${1:+_$1} exp+=${1:+_$1}; }
[ ${#for_corpus[@]} -eq 0 ] || named "$("$recipe_dir/local/prepare.py" --data-name "${for_corpus[@]}")"
corpus_data=$data
system() { # <verb> <data>…
  guarded env -C "$caller" "$system_program" "${for_system[@]}" --recipe-dir "$recipe_dir" \
    --work-dir "$work_dir" "${jobs[@]}" "$@"
}
task() { # <verb> …
  guarded "$task_program" "${for_task[@]}" --recipe "$recipe" --corpus-data "$corpus_data" --data "$data" \
    --exp "$exp" --system-block "$block" \
    --emotions "${opt[emotions]}" --folds "$folds" --train-data "${opt[train-data]}" --raw "$raw" --suffix "$suffix" \
    "${of_tests[@]}" --musan-dir "$musan_dir" "${jobs[@]}" "$@"
}
raw=$(system raw)
suffix=$(system suffix)
block=$(system block)
for_plan=$(system plan)
mapfile -t for_plan < <(printf '%s' "$for_plan")
named "$(task list-name)"
folds=$(task folds)
for word in ${opt[folds]}; do
  [[ " $folds " = *" $word "* ]] || die "--folds: $recipe has ${folds:-no folds}, not '$word'"
done
folds=${opt[folds]:-$folds}

started=$SECONDS
begin() { stage_started=$SECONDS; echo "$(date +%T) stage $1: $2"; }
finish() { echo "$(date +%T) stage $1 done in $((SECONDS - stage_started)) s"; }
features() { # clean|copies
  local sets
  sets=$(task sets "$1")
  # shellcheck disable=SC2086  # several directories
  [ -z "$sets" ] || system features $sets
  task share "$1"
}

# The runs come first, since that shows a wrong option before hours of features.
if [ "${opt[stage]}" -lt 5 ]; then
  train_data=$(task train-data)
  options=(--recipe "$recipe" --task "${opt[task]}" --system "${opt[system]}" --features "$(system name)"
    --network "$network" --train-data "$train_data" --scheme "${opt[scheme]}" --init "$init"
    --weights "$(absolute "${opt[weights]}")" --seeds "${opt[seeds]}"
    --labels "$(task labels)" --device "${opt[device]}" --exp-dir "$exp" "${for_plan[@]}")
  given=("${for_system[@]}" "${for_task[@]}" "${for_corpus[@]}")
  options+=("${given[@]/#/--given=}")
  [ -z "${opt[tag]}" ] || options+=(--tag "${opt[tag]}")
  [ -z "$config" ] || options+=(--config "$config")
  if [ -n "$score_run" ]; then
    options+=(--score-run "$score_run")
    [ ${#for_training[@]} -eq 0 ] || die "--score-run trains nothing; leave out ${for_training[0]}"
  fi
  # Stage 4 alone scores the baseline where it has been trained. The config.yaml of a run means that run alone.
  if [ "${opt[baseline]}${opt[system]}${opt[task]}${of_config:-}" = truemfccemotion ]; then
    options+=(--baseline "$(system_program=$SER_ROOT/local/system_functionals.sh && system name)")
    [ "${opt[stage]}" -le 3 ] || options+=(--trained-baseline)
  fi
  [ -n "$plan" ] || mkdir -p "$exp/runs"
  runs=${plan:-$exp/runs/$$.tmp}
  splits=$(task splits)
  "$SER_ROOT/pyscripts/plan_runs.py" "${options[@]}" --splits - --out "$runs" \
    ${for_training[@]+-- "${for_training[@]}"} <<< "$splits"
  [ -z "$plan" ] || exit 0
  # Jobs look their run up when they start, which in a queue may be long after: other runs, another file.
  name=${opt[system]}-${network}_$train_data.$(printf %08x "$(cksum < "$runs" | cut -d ' ' -f 1)")
  mv "$runs" "$exp/runs/$name.jsonl"
  runs=$exp/runs/$name.jsonl
fi

if [ "${opt[stage]}" -le 2 ]; then
  holder=$("$SER_ROOT/pyscripts/hold_folder.py" . "lists and features are being made here") || exit 1
fi
if runs_stage 0; then
  begin 0 "lists of $recipe"
  [ -z "$corpus_dir" ] || for_corpus+=(--corpus-dir "$corpus_dir")
  guarded "$recipe_dir/local/prepare.py" "${for_corpus[@]}" "${jobs[@]}" "$corpus_data"
  task lists
  finish 0
fi

if runs_stage 1; then
  begin 1 "features of system ${opt[system]}"
  features clean
  finish 1
fi

if runs_stage 2; then
  begin 2 "copies"
  of_copies=()
  [ "${opt[task]}" != emotion ] || of_copies=(--ngpu "${opt[ngpu]}" --train-threads "${opt[train-threads]}")
  task "${of_copies[@]}" copies
  features copies
  finish 2
fi

[ "${opt[stage]}" -gt 2 ] || kill "$holder" 2>/dev/null || true # runs have locks of their own

# array <verb> <runner> <command…>: run a command over all runs as an array of jobs.
array() {
  local log=$exp/log/$1_$name
  mkdir -p "$exp/log"
  of_runs "$runs" out | awk -v name="$log" '{ print "  job " NR ", " name "." NR ".log: " $0 }'
  # shellcheck disable=SC2086  # a runner comes with its options
  guarded $2 JOB=1:"$(wc -l < "$runs")" "$log.JOB.log" "${@:3}"
}

if runs_stage 3 && [ -n "$score_run" ]; then
  echo "$(date +%T) stage 3: nothing is trained; the network is that of $score_run"
elif runs_stage 3; then
  begin 3 "training on ${opt[device]}, $train_data data"
  task training
  launcher=()
  if [ $((opt[processes] * opt[num-nodes])) -gt 1 ]; then
    launcher=("$SER_ROOT/utils/launch.sh" --processes "${opt[processes]}" --nodes "${opt[num-nodes]}")
  fi
  array train "${opt[train-cmd]}" "${launcher[@]}" \
    "$SER_ROOT/pyscripts/train.py" --runs "$runs" --job JOB
  finish 3
fi

if runs_stage 4; then
  begin 4 "scores on the test sets"
  array score "${opt[score-cmd]}" "$task_program" score "$runs" JOB
  finish 4
fi

if runs_stage 5; then
  begin 5 "tables"
  task report
  finish 5
fi
echo "$(date +%T) done in $((SECONDS - started)) s"
