# shellcheck shell=bash disable=SC2154
# What the feature steps have in common: up to date or not, split, one job a split, assembly. Sourced by them.
#
#     run_feature_jobs PROGRAM DATA TARGET LOG_DIR ARK_DIR [PROGRAM'S OPTIONS]
#
# runs pyscripts/PROGRAM.py over DATA in $nj jobs of $cmd and leaves its tables in TARGET, allowing $max_drop, variables
# that the script which sources this sets.
run_feature_jobs() {
  local program=$1 data=$2 target=$3 log_dir=$4 ark_dir=$5
  shift 5
  local -a arguments=("$data" "$ark_dir" --target "$target" "$@")
  local script=$SER_ROOT/pyscripts/$program.py
  local state utterances name

  if [ ! -f "$data/utt2spk" ]; then
    echo "$program.sh: error: $data/utt2spk: no such file; is $data a data directory?" >&2
    return 1
  fi
  if ! [[ $nj =~ ^[1-9][0-9]*$ ]]; then
    echo "$program.sh: error: --nj takes a number of jobs from 1 up, not '$nj'" >&2
    return 1
  fi
  state=$(python3 "$script" check "${arguments[@]}") || return 1
  if [ -n "$state" ]; then
    echo "$state"
    return 0
  fi
  utterances=$(wc -l < "$data/utt2spk")
  if [ "$nj" -gt "$utterances" ]; then
    echo "$program.sh: $data has $utterances utterances: running $utterances jobs, not $nj"
    nj=$utterances
  fi
  "$SER_ROOT/utils/split_data_dir.sh" "$data" "$nj" || return 1
  mkdir -p "$log_dir" "$ark_dir" || return 1
  name=$(basename "$(realpath "$target")")
  arguments+=(--nj "$nj" --log-dir "$log_dir")
  # shellcheck disable=SC2086 # a runner comes with its options
  $cmd JOB=1:"$nj" "$log_dir/${program}_$name.JOB.log" \
    python3 "$script" job "${arguments[@]}" --job JOB || return 1
  python3 "$script" collect "${arguments[@]}" --max-drop "$max_drop" || return 1
}
