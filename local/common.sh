# shellcheck shell=bash disable=SC2034,SC2154
# What the driver (run.sh) and the grid runner (local/run_grid.sh) share. They source it once their options are parsed.

die() { echo "$(basename "$0"): error: $*" >&2; exit 1; }

# absolute <path>: paths are the caller's, whatever folder the work is done in.
absolute() { case $1 in '' | /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }

no_word_twice() { # <list>
  local twice
  twice=$(tr ' ' '\n' <<< "$1" | sort | uniq -d)
  [ -z "$twice" ] || die "'$twice' is given twice in '$1'"
}

# guarded <command…>: killed itself (kill -9, a lost terminal), a script must not leave a step behind that would race
# with the next one.
guarded() {
  if setpriv --pdeathsig TERM true 2>/dev/null; then setpriv --pdeathsig TERM "$@"; else "$@"; fi
}

# set_training_device: from --ngpu, --num-nodes, --num-processes and --train-threads, filled in where they are empty,
#   device             cpu or cuda
#   train_options      what a runner of trainings is asked for
#   score_options      what a runner of scores is asked for
#   launcher           words before the training program: none where one process trains
set_training_device() {
  local processes=$num_processes
  [ -n "$ngpu" ] || ngpu=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU' | sed 's/^[1-9].*/1/') || ngpu=0
  [[ $ngpu =~ ^(0|[1-9][0-9]*)$ ]] || die "--ngpu takes a number of GPUs from 0, not '$ngpu'"
  [[ $num_nodes =~ ^[1-9][0-9]*$ ]] || die "--num-nodes takes a number from 1, not '$num_nodes'"
  case $num_nodes/$cuda_cmd in
    1/*) ;;
    */run.py*) die "--num-nodes $num_nodes: run.py knows one machine; choose a cluster's runner in cmd.sh" ;;
  esac
  [[ $num_processes =~ ^[1-9][0-9]*$ ]] || die "--num-processes takes a number from 1, not '$num_processes'"
  if [ "$ngpu" -gt 0 ] && [ "$num_processes" -gt 1 ]; then
    die "--num-processes is for trainings without GPU; with --ngpu $ngpu each GPU has its process"
  fi
  if [ -z "$train_threads" ]; then
    train_threads=$(($(getconf _NPROCESSORS_ONLN) / (ngpu > 0 ? ngpu : num_processes)))
    [ "$train_threads" -le 4 ] || train_threads=4
    [ "$train_threads" -ge 1 ] || train_threads=1
  fi
  [[ $train_threads =~ ^[1-9][0-9]*$ ]] || die "--train-threads takes a number from 1, not '$train_threads'"
  if [ "$ngpu" -gt 0 ]; then
    processes=$ngpu device=cuda train_options="--gpu $ngpu " score_options="--gpu 1 "
  else
    device=cpu train_options='' score_options=''
  fi
  train_options+="--num-threads $((processes * train_threads))" score_options+="--num-threads $train_threads"
  launcher=()
  if [ $((processes * num_nodes)) -gt 1 ]; then
    launcher=("$SER_ROOT/utils/launch.sh" --processes "$processes" --nodes "$num_nodes")
  fi
  [ "$num_nodes" -eq 1 ] || train_options+=" --num-nodes $num_nodes"
}
