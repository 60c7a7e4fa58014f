#!/usr/bin/env bash
# The paper's grid: every training of its Tables 2 to 6 on the corpora named, scored, beside the paper's numbers.
#
# Usage: local/run_grid.sh [options] <corpus>…
#  e.g.: local/run_grid.sh --musan-dir /corpora/musan cremad=/corpora/CREMA-D \
#          iemocap=/corpora/IEMOCAP_full_release msp_podcast=/corpora/MSP-PODCAST-Publish-1.4
#
# A <corpus> is a recipe of egs/, with the folder of its corpus; options of egs/<recipe>/run.sh may follow within the
# same word: "iemocap=/corpora/IEMOCAP_full_release --merge-excited true --folds '1 2'".
#
# Stages; what is finished is skipped, so an interrupted command is simply given again
#   0-2  lists and features of each corpus, once for all its runs (run.sh, stages 0 to 2)
#   3    training and scores of every run of every corpus that is not finished, as one array of jobs of $cuda_cmd (cmd.sh)
#   5    tables of each corpus (<work dir>/exp/results) and over all (<grid dir>/results)
# What fails stops nothing else; it is listed with its log, and the exit status is then 1.
#
# Options
#   --dry-run true         list every run, its state and an estimate of the time left, and do nothing
#   --scheme "S …"         (default: all four: none se-cp n-cp n+se-cp)
#   --train-data "D …"     (default: clean clean+noise)
#   --init DIR             pre-trained model for the cells with x-vector initialisation; without it they wait, and the
#                          tables show them as missing. random: leave them out
#   --seeds "N …"          a training for each (default: 0 1 2)
#   --musan-dir DIR        MUSAN, for noisy copies; fetched where the folder does not exist (11 GB)
#   --work-dir DIR         data/ and exp/ of each recipe go to DIR/<recipe>, and the grid's own files to DIR/grid
#                          (default: egs/<recipe> and exp/grid)
#   --config FILE          training options over those of conf/train.yaml and egs/<recipe>/conf/train.yaml
#   --nj N                 parallel jobs of feature extraction (default: cores of this machine)
#   --ngpu N               GPUs of a training, 0 or 1 (default: 1 if this machine has one)
#   --train-threads N      CPU threads of a training (default: 4, or all cores if they are fewer)
#   --stage N              first stage (default: 0)
#   --stop-stage N         last stage (default: 5)
set -euo pipefail

dry_run=false
scheme="none se-cp n-cp n+se-cp"
train_data="clean clean+noise"
init=
seeds="0 1 2"
musan_dir=
work_dir=
config=
nj=$(getconf _NPROCESSORS_ONLN)
ngpu=
train_threads=
stage=0
stop_stage=5

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"
. "$SER_ROOT/cmd.sh"
. "$SER_ROOT/local/common.sh"

[ $# -gt 0 ] || die "name at least one corpus, such as cremad=/corpora/CREMA-D (--help explains)"
for number in "$stage" "$stop_stage"; do
  [[ $number =~ ^[0-9]+$ ]] || die "--stage and --stop-stage take whole numbers, not '$number'"
done
[ -n "$scheme" ] && [ -n "$train_data" ] && [ -n "$seeds" ] || die "--scheme, --train-data and --seeds cannot be empty"
[[ $ngpu =~ ^[01]?$ ]] || die "--ngpu is 0 or 1: of so many trainings each uses one GPU, and they run side by side"
num_nodes=1 num_processes=1
set_training_device
inits=(random)
case $init in '' | random) ;; *) inits+=("$init") ;; esac

work_dir=$(absolute "$work_dir")
grid=${work_dir:-$SER_ROOT/exp}/grid
work_of() { echo "${work_dir:-$SER_ROOT/egs}/$1"; }
mkdir -p "$grid" || die "--work-dir $work_dir: cannot make $grid"

# Per recipe: the words after its run.sh that hold for all of its runs, quoted for eval.
recipes=()
declare -A options
for corpus in "$@"; do
  # The folder ends where the first option begins; it may have blanks in it.
  folder=${corpus%% --*} more=()
  if [ "$folder" != "$corpus" ]; then
    mapfile -t more < <(xargs -n 1 printf '%s\n' <<< "${corpus#"$folder "}") # understands quotes, expands nothing
  fi
  recipe=${folder%%=*}
  [ -f "$SER_ROOT/egs/$recipe/run.sh" ] || die "no recipe '$recipe'; there are: $(cd "$SER_ROOT/egs" && echo *)"
  [ -z "${options[$recipe]:-}" ] || die "$recipe is named twice"
  recipes+=("$recipe")
  words=(--nj "$nj" --ngpu "$ngpu" --train-threads "$train_threads")
  [ "$folder" = "$recipe" ] || words+=(--corpus-dir "${folder#*=}")
  [ -z "$musan_dir" ] || words+=(--musan-dir "$musan_dir")
  [ -z "$config" ] || words+=(--config "$config")
  words+=(${more[@]+"${more[@]}"} --scheme "$scheme" --seeds "$seeds" --work-dir "$(work_of "$recipe")")
  options[$recipe]=$(printf '%q ' "${words[@]}")
done
run_recipe() { # <recipe> <more options…>
  local words
  eval "words=(${options[$1]})"
  guarded "$SER_ROOT/egs/$1/run.sh" "${words[@]}" "${@:2}"
}
runs_stage() { [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ]; }

# All command lines first, since that shows a wrong option before hours of features.
command_files=()
for recipe in "${recipes[@]}"; do
  file=$grid/$recipe.commands
  for data in $train_data; do
    for initial in "${inits[@]}"; do
      run_recipe "$recipe" --train-data "$data" --init "$initial" --commands "$file.part"
      cat "$file.part"
    done
  done > "$file"
  rm -f "$file.part"
  command_files+=("$file")
done

waiting=()
[ -n "$init" ] || waiting=(--waiting)
if [ "$dry_run" = true ]; then
  exec "$SER_ROOT/pyscripts/grid.py" list --estimate --threads "$train_threads" ${waiting[@]+"${waiting[@]}"} \
    "${command_files[@]}"
fi

failed=()
if [ "$stage" -le 2 ]; then
  last=$((stop_stage < 2 ? stop_stage : 2))
  for recipe in "${recipes[@]}"; do
    echo "$(date +%T) $recipe: lists and features"
    run_recipe "$recipe" --stage "$stage" --stop-stage "$last" || failed+=("$recipe: stages $stage to $last, see above")
  done
fi

if runs_stage 3; then
  ready=()
  for recipe in "${recipes[@]}"; do
    [[ " ${failed[*]:-} " = *" $recipe: "* ]] || ready+=("$grid/$recipe.commands")
  done
  if [ ${#ready[@]} -gt 0 ]; then
    echo "$(date +%T) training and scores on $device"
    array=$grid/$(date +%Y%m%d-%H%M%S)
    mkdir -p "$array"
    "$SER_ROOT/pyscripts/grid.py" list --jobs "$array/jobs" ${waiting[@]+"${waiting[@]}"} "${ready[@]}"
    if [ -s "$array/jobs" ]; then
      echo "  logs: $array/run.<job>.log"
      guarded run_commands.sh --cmd "$cuda_cmd $train_options" "$array/jobs" "$array/run.JOB.log" || true
      "$SER_ROOT/pyscripts/grid.py" failures "$array/jobs" --log "$array/run.JOB.log" || failed+=("runs, see above")
    else
      rm -r "$array"
    fi
  fi
fi

if runs_stage 5; then
  echo "$(date +%T) tables"
  corpora=() all_folds=()
  for recipe in "${recipes[@]}"; do
    folds=$(sed -n 's|.*/fold\([0-9]*\)/seed[0-9]* .*|\1|p' "$grid/$recipe.commands" | sort -nu | xargs)
    if "$SER_ROOT/pyscripts/report.py" --exp-dir "$(work_of "$recipe")/exp" --recipe "$recipe" --seeds "$seeds" \
      ${folds:+--folds "$folds"}; then
      corpora+=("$recipe=$(work_of "$recipe")/exp")
      [ -z "$folds" ] || all_folds+=("$recipe=$folds")
    else
      failed+=("$recipe: tables, see above; the overall tables are without it")
    fi
    echo
  done
  if [ ${#corpora[@]} -gt 0 ]; then
    "$SER_ROOT/pyscripts/report.py" --corpora "${corpora[@]}" --seeds "$seeds" --out "$grid/results" \
      ${all_folds[@]+--folds "${all_folds[@]}"}
  fi
fi

if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "$(date +%T) done in $SECONDS s"
