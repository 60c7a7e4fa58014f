# shellcheck shell=bash
# What the feature steps have in common: up to date or not, split, one job per split, assembly. Sourced by them.
#
#     run_feature_jobs NJ CMD MAX_DROP PROGRAM DATA TARGET LOG_DIR ARK_DIR [PROGRAM'S OPTIONS]
#
# runs pyscripts/PROGRAM.py over DATA in NJ jobs of the runner CMD and leaves its tables in TARGET; a greater share than
# MAX_DROP of dropped utterances is an error.
run_feature_jobs() {
  local nj=$1 max_drop=$3 program=$4 data=$5 target=$6 log_dir=$7 ark_dir=$8 script=$SER_ROOT/pyscripts/$4.py
  local state arguments=("$data" "$ark_dir" --target "$target" --log-dir "$log_dir" "${@:9}") runner
  read -ra runner <<< "$2"

  if [ ! -f "$data/utt2spk" ]; then
    echo "$program.sh: error: $data/utt2spk: no such file; is $data a data directory?" >&2
    return 1
  fi
  state=$(python3 "$script" check "${arguments[@]}" --nj "$nj") || return 1
  nj=${state##*$'\n'} # the last line
  printf %s "${state%"$nj"}"
  [ "$nj" -gt 0 ] || return 0
  arguments+=(--nj "$nj")
  "${runner[@]}" JOB=1:"$nj" "$log_dir/${program}_$(basename "$(realpath "$target")").JOB.log" \
    python3 "$script" job "${arguments[@]}" --job JOB || return 1
  python3 "$script" collect "${arguments[@]}" --max-drop "$max_drop" || return 1
}

# also_words <DATA[=TARGET] …>: set also_words to the options by which a step does more data directories.
also_words() {
  local word
  also_words=()
  for word in $1; do also_words+=(--also "$word"); done
}
