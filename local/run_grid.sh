#!/usr/bin/env bash
# A paper's grid: every training of its tables on the corpora named, scored, beside the paper's numbers.
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
# CopyPaste's Tables 2 to 6 have the CopyPaste schemes, with and without noisy copies, from random weights and from a
# pre-trained model.
set -euo pipefail
# shellcheck source=local/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_options "$@" << END
--paper=copypaste NAME      whose tables, conf/NAME_tables.json, are filled
--dry-run=false BOOL        list every run and its state, and do nothing
--scheme='none se-cp n-cp n+se-cp' SCHEMES  of CopyPaste
--train-data='clean clean+noise' DATA  of the recipes
--init= DIR                 pre-trained model for the cells with x-vector initialisation; without it they wait, and the
                            tables show them as missing. random: leave them out
--seeds='0 1 2' SEEDS        a training for each
--musan-dir= DIR            MUSAN, for noisy copies; fetched where the folder does not exist (11 GB)
--work-dir= DIR             data/ and exp/ of each recipe go to DIR/<recipe>, and the grid's own files to DIR/grid
                            (default: egs/<recipe> and exp/grid)
--config= FILE              training options over those of conf/train.yaml and egs/<recipe>/conf/train.yaml (default:
                            conf/NAME.yaml with the tag paper, the options of that paper)
--tag= T                    ends the names of the runs' folders, as of run.sh
--nj=$(getconf _NPROCESSORS_ONLN) N+     parallel jobs of feature extraction
--ngpu= 0|1                 GPUs of a training (default: 1 if this machine has one)
--train-threads= N+         CPU threads of a training (default: 4, or all cores if they are fewer)
--stage=0 0|1|2|3|4|5       first stage
--stop-stage=5 0|1|2|3|4|5  last stage
END
[ ${#args[@]} -gt 0 ] || die "name at least one corpus, such as cremad=/corpora/CREMA-D (--help explains)"
[ -f "$SER_ROOT/conf/${opt[paper]}_tables.json" ] || die "--paper ${opt[paper]}: no conf/${opt[paper]}_tables.json"
for option in scheme train-data seeds; do [ -n "${opt[$option]}" ] || die "--$option cannot be empty"; done
opt[num-nodes]=1 opt[num-processes]=1 # of so many trainings each uses one GPU, and they run side by side
set_training_device
inits=(random) waiting=()
case ${opt[init]} in '') waiting=(--waiting) ;; random) ;; *) inits+=("${opt[init]}") ;; esac
status_py=$SER_ROOT/pyscripts/status.py report_py=$SER_ROOT/pyscripts/report.py

work_dir=$(absolute "${opt[work-dir]}")
grid=${work_dir:-$SER_ROOT/exp}/grid
mkdir -p "$grid" || die "--work-dir $work_dir: cannot make $grid"
settings=(--config "$SER_ROOT/conf/${opt[paper]}.yaml" --tag "${opt[tag]:-paper}")
if [ -n "${opt[config]}" ]; then
  config=$(config_file "${opt[config]}" "$grid")
  settings=(--config "$config")
  [ -z "${opt[tag]}" ] || settings+=(--tag "${opt[tag]}")
fi

# Per recipe: the words after its run.sh that hold for all of its runs, quoted for eval.
recipes=()
declare -A words_of
for corpus in "${args[@]}"; do
  # The folder ends where the first option begins; it may have blanks in it.
  folder=${corpus%% --*} more=()
  if [ "$folder" != "$corpus" ]; then
    mapfile -t more < <(xargs -n 1 printf '%s\n' <<< "${corpus#"$folder "}") # understands quotes, expands nothing
  fi
  recipe=${folder%%=*}
  for word in ${more[@]+"${more[@]}"}; do
    case $word in --config* | --tag*) die "$recipe: ${word%%=*} is the grid's own option, for all of its runs" ;; esac
  done
  [ -f "$SER_ROOT/egs/$recipe/run.sh" ] || die "no recipe '$recipe'; there are: $(cd "$SER_ROOT/egs" && echo *)"
  [ -z "${words_of[$recipe]:-}" ] || die "$recipe is named twice"
  recipes+=("$recipe")
  words=(--nj "${opt[nj]}" --ngpu "${opt[ngpu]}" --train-threads "${opt[train-threads]}" --cmn sliding
    "${settings[@]}") # the tables are those of sliding means, whatever a recipe's default is
  [ "$folder" = "$recipe" ] || words+=(--corpus-dir "${folder#*=}")
  [ -z "${opt[musan-dir]}" ] || words+=(--musan-dir "${opt[musan-dir]}")
  words+=(${more[@]+"${more[@]}"} --scheme "${opt[scheme]}" --seeds "${opt[seeds]}"
    --work-dir "${work_dir:-$SER_ROOT/egs}/$recipe")
  words_of[$recipe]=$(printf '%q ' "${words[@]}")
done
run_recipe() { # <recipe> <more options…>
  local words
  eval "words=(${words_of[$1]})"
  guarded "$SER_ROOT/egs/$1/run.sh" "${words[@]}" "${@:2}"
}
runs_stage() { [ "${opt[stage]}" -le "$1" ] && [ "${opt[stop-stage]}" -ge "$1" ]; }

# All runs first, since that shows a wrong option before hours of features.
plans=()
for recipe in "${recipes[@]}"; do
  plan=$grid/$recipe.jsonl
  for data in ${opt[train-data]}; do
    for init in "${inits[@]}"; do
      once=() # the baseline has no initialisation
      [ "$init" = random ] || once=(--baseline false)
      run_recipe "$recipe" --train-data "$data" --init "$init" ${once[@]+"${once[@]}"} --plan "$plan.part"
      cat "$plan.part"
    done
  done > "$plan"
  rm -f "$plan.part"
  plans+=("$plan")
done

if [ "${opt[dry-run]}" = true ]; then
  exec "$status_py" --to-do ${waiting[@]+"${waiting[@]}"} "${plans[@]}"
fi

failed=()
if [ "${opt[stage]}" -le 2 ]; then
  last=$((opt[stop-stage] < 2 ? opt[stop-stage] : 2))
  for recipe in "${recipes[@]}"; do
    echo "$(date +%T) $recipe: lists and features"
    run_recipe "$recipe" --stage "${opt[stage]}" --stop-stage "$last" ||
      failed+=("$recipe: stages ${opt[stage]} to $last, see above")
  done
fi

if runs_stage 3; then
  ready=()
  for recipe in "${recipes[@]}"; do
    [[ " ${failed[*]:-} " = *" $recipe: "* ]] || ready+=("$grid/$recipe.jsonl")
  done
  if [ ${#ready[@]} -gt 0 ]; then
    echo "$(date +%T) training and scores on ${opt[device]}"
    array=$grid/$(date +%Y%m%d-%H%M%S)
    mkdir -p "$array"
    "$status_py" --to-do --jobs "$array/jobs.jsonl" ${waiting[@]+"${waiting[@]}"} "${ready[@]}"
    if [ -s "$array/jobs.jsonl" ]; then
      echo "  logs: $array/run.<job>.log"
      # shellcheck disable=SC2086  # a runner comes with its options
      guarded ${opt[train-cmd]} JOB=1:"$(wc -l < "$array/jobs.jsonl")" "$array/run.JOB.log" \
        "$SER_ROOT/local/train_and_score.sh" "$array/jobs.jsonl" JOB || true
      "$status_py" --check "$array/jobs.jsonl" || failed+=("runs, see above")
    else
      rm -r "$array"
    fi
  fi
fi

if runs_stage 5; then
  echo "$(date +%T) tables"
  corpora=() all_folds=()
  for recipe in "${recipes[@]}"; do
    folds=$(of_runs "$grid/$recipe.jsonl" fold | sed '/None/d' | sort -nu | xargs)
    out=$(of_runs "$grid/$recipe.jsonl" out | sed -n 1p) # exp/…, or exp_<lists>/…
    exp_dir=$(of_runs "$grid/$recipe.jsonl" work | sed -n 1p)/${out%%/*}
    if "$report_py" --paper "${opt[paper]}" --exp-dir "$exp_dir" --recipe "$recipe" --seeds "${opt[seeds]}" \
      ${folds:+--folds "$folds"}; then
      corpora+=("$recipe=$exp_dir")
      [ -z "$folds" ] || all_folds+=("$recipe=$folds")
    else
      failed+=("$recipe: tables, see above; the overall tables are without it")
    fi
    echo
  done
  if [ ${#corpora[@]} -gt 0 ]; then
    "$report_py" --paper "${opt[paper]}" --corpora "${corpora[@]}" --seeds "${opt[seeds]}" --out "$grid/results" \
      ${all_folds[@]+--folds "${all_folds[@]}"}
  fi
fi

if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "$(date +%T) done in $SECONDS s"
