# shellcheck shell=bash disable=SC2154
# What the feature steps have in common: up to date or not, split, one job a split, assembly. Sourced by them.
#
#     run_feature_jobs PROGRAM DATA TARGET LOG_DIR ARK_DIR [PROGRAM'S OPTIONS]
#
# runs pyscripts/PROGRAM.py over DATA in $nj jobs of $cmd and leaves its tables in TARGET, allowing $max_drop, variables
# that the script which sources this sets. Of further data directories, four words each like those of the first in the
# array $also, job 1 does split 1 too, and so on; the jobs' logs are in the first directory's LOG_DIR.
run_feature_jobs() {
  local program=$1 script=$SER_ROOT/pyscripts/$1.py
  local -a places=("${@:2:4}" ${also[@]+"${also[@]}"}) options=("${@:6}") stale=() arguments lines
  local state utterances log i

  for ((i = 0; i < ${#places[@]}; i += 4)); do
    if [ ! -f "${places[i]}/utt2spk" ]; then
      echo "$program.sh: error: ${places[i]}/utt2spk: no such file; is ${places[i]} a data directory?" >&2
      return 1
    fi
  done
  if ! [[ $nj =~ ^[1-9][0-9]*$ ]]; then
    echo "$program.sh: error: --nj takes a number of jobs from 1 up, not '$nj'" >&2
    return 1
  fi
  name_places "${places[@]}"
  state=$(python3 "$script" check "${arguments[@]}" "${options[@]}") || return 1
  mapfile -t lines <<< "$state" # one for each directory: that it is up to date, or nothing
  for ((i = 0; i < ${#places[@]}; i += 4)); do
    if [ -n "${lines[i / 4]:-}" ]; then echo "${lines[i / 4]}"; else stale+=("${places[@]:i:4}"); fi
  done
  [ ${#stale[@]} -gt 0 ] || return 0
  for ((i = 0; i < ${#stale[@]}; i += 4)); do
    utterances=$(wc -l < "${stale[i]}/utt2spk")
    if [ "$nj" -gt "$utterances" ]; then
      echo "$program.sh: ${stale[i]} has $utterances utterances: running $utterances jobs, not $nj"
      nj=$utterances
    fi
  done
  for ((i = 0; i < ${#stale[@]}; i += 4)); do
    "$SER_ROOT/utils/split_data_dir.sh" "${stale[i]}" "$nj" || return 1
    mkdir -p "${stale[@]:i+2:2}" || return 1
  done
  name_places "${stale[@]}"
  arguments+=("${options[@]}" --nj "$nj")
  log=${stale[2]}/${program}_$(basename "$(realpath "${stale[1]}")")
  # shellcheck disable=SC2086 # a runner comes with its options
  $cmd JOB=1:"$nj" "$log.JOB.log" python3 "$script" job "${arguments[@]}" --job JOB || return 1
  python3 "$script" collect "${arguments[@]}" --max-drop "$max_drop" || return 1
}

# name_places DATA TARGET LOG_DIR ARK_DIR …: as $arguments of the program.
name_places() {
  arguments=("$1" "$4" --target "$2" --log-dir "$3")
  shift 4
  while [ $# -gt 0 ]; do
    arguments+=(--also "${@:1:4}")
    shift 4
  done
}
