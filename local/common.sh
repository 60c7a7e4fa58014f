# shellcheck shell=bash disable=SC2034
# What the driver (run.sh) and the grid runner (local/run_grid.sh) share. They source it once their options are parsed.

die() { echo "$(basename "$0"): error: $*" >&2; exit 1; }

# absolute <path>: paths are the caller's, whatever folder the work is done in.
absolute() { case $1 in '' | /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }

# guarded <command…>: killed itself (kill -9, a lost terminal), a script must not leave a step behind that would race
# with the next one.
guarded() {
  if setpriv --pdeathsig TERM true 2>/dev/null; then setpriv --pdeathsig TERM "$@"; else "$@"; fi
}

# set_training_device: fills in $ngpu and $train_threads where they are empty, and sets $device, cpu or cuda, and
# $cuda_options, what a runner of trainings is asked for.
set_training_device() {
  [ -n "$ngpu" ] || ngpu=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU' | sed 's/^[1-9].*/1/') || ngpu=0
  [[ $ngpu =~ ^[01]$ ]] || die "--ngpu is 0 or 1: one training uses one GPU, and several trainings run side by side"
  if [ -z "$train_threads" ]; then
    train_threads=$(getconf _NPROCESSORS_ONLN)
    [ "$train_threads" -le 4 ] || train_threads=4
  fi
  [[ $train_threads =~ ^[1-9][0-9]*$ ]] || die "--train-threads takes a number from 1, not '$train_threads'"
  cuda_options="--num-threads $train_threads" device=cpu
  if [ "$ngpu" -gt 0 ]; then cuda_options="--gpu $ngpu" device=cuda; fi
}
