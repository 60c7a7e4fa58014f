# shellcheck shell=bash
# What the driver, the tasks, the systems and the grid share; they source it first. It brings the environment (path.sh),
# parse_options and the job runners (cmd.sh) with it.
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# shellcheck source=utils/parse_options.sh
. "$SER_ROOT/utils/parse_options.sh"
# shellcheck source=cmd.sh
. "$SER_ROOT/cmd.sh"

# absolute <path>: print a path of the caller's as one that holds in any folder.
absolute() { case $1 in '' | /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }

# split_words <array> <string>: append the string's words to an array. Quotes keep blanks in a word; nothing is expanded.
split_words() {
  local -n into=$1
  local printed
  printed=$(xargs -r -n 1 printf '%s\n' <<< "$2" && echo end) || die "$2: a quote is not closed"
  mapfile -t -O "${#into[@]}" into <<< "$printed" # up to the end, so that a last word may be empty
  unset 'into[-1]'
}

# config_file <file> <folder>: print the absolute path of a file of options, or of a copy in the folder of what comes out
# of a pipe, which can be read once.
config_file() {
  local copy
  if [ -f "$1" ]; then absolute "$1"; return; fi
  if [ -d "$1" ] || [ ! -r "$1" ]; then die "--config $1: no such file"; fi
  mkdir -p "$2"
  cat "$1" > "$2/pipe.$$.tmp"
  copy=$2/pipe.$(cksum < "$2/pipe.$$.tmp" | cut -d ' ' -f 1).yaml
  mv "$2/pipe.$$.tmp" "$copy"
  echo "$copy"
}

# guarded <command…>: run a command that is told to stop when this script is killed (kill -9, a lost terminal). Left
# behind, it would race with the next one.
guarded() {
  if setpriv --pdeathsig TERM true 2>/dev/null; then setpriv --pdeathsig TERM "$@"; else "$@"; fi
}

# prepare_noise <corpus-data> <data>: make the lists of noise and music files <data>/noise out of --musan-dir, or out of
# the noise that a recipe which makes its own leaves in <corpus-data>/local/musan; as --noise, --noise-dir and
# --noise-split of a task say that has them.
prepare_noise() {
  local musan=${opt[musan-dir]} options=(--split "${opt[noise-split]:-disjoint}")
  if [ -z "$musan" ] && [ -d "$1/local/musan" ]; then musan=$1/local/musan; fi
  [ "${opt[noise]:-}" != babble ] || options+=(--babble true)
  [ -z "${opt[noise-dir]:-}" ] || options+=(--noise-dir "${opt[noise-dir]}")
  if [ -z "$musan" ] && [ -z "${opt[noise-dir]:-}" ]; then
    die "--musan-dir: name a folder with MUSAN (fetched there if the folder does not exist)"
  fi
  guarded "$SER_ROOT/local/prepare_musan.sh" "${options[@]}" ${musan:+"$musan"} "$2/noise"
}

# runs_stage <n>: whether --stage and --stop-stage ask for it.
runs_stage() { [ "${opt[stage]}" -le "$1" ] && [ "${opt[stop-stage]}" -ge "$1" ]; }

# copy_tables <from> <to> <table>…: make the tables of a data directory like another's; those alike are left alone.
copy_tables() {
  local from=$1 to=$2 table
  for table in "${@:3}"; do
    if [ ! -f "$from/$table" ]; then
      rm -f "$to/$table"
    elif ! cmp -s "$from/$table" "$to/$table"; then
      mkdir -p "$(dirname "$to/$table")"
      cp "$from/$table" "$to/$table.tmp" && mv "$to/$table.tmp" "$to/$table"
    fi
  done
}

lists=(wav.scp segments utt2spk spk2utt utt2emo utt2noise utt2perturb utt2uniq)
digest_of_lists() { (cd "$1" && { cat "${lists[@]}" 2>/dev/null || true; } | cksum); }

# is_copy <data>: whether it is a directory of copies, which a task makes as <data><raw>; its lists are its own.
is_copy() { [ -f "$1/utt2noise" ] || [ -f "$1/utt2perturb" ]; }

# copy_lists <from> <to>: copy the lists of a data directory, unless those in <to> come from these. A step may have taken
# bad recordings out of either since.
copy_lists() {
  local digest
  [ -f "$1/utt2spk" ] || die "$1/utt2spk: no such file; run stage 0 first"
  digest=$(digest_of_lists "$1")
  if [ -d "$2" ] && { [ "$digest" = "$(cat "$2/.lists" 2>/dev/null)" ] || [ "$digest" = "$(digest_of_lists "$2")" ]; }; then
    return
  fi
  mkdir -p "$2"
  copy_tables "$1" "$2" "${lists[@]}" utt2dur
  echo "$digest" > "$2/.lists"
}

# share_with_folders <features> <suffix> <folder>…: give each folder's train and dev its part of the features of all.
share_with_folders() {
  local folder set
  for folder in "${@:3}"; do
    for set in train dev; do
      cut -d ' ' -f 1 "$folder/$set/utt2spk" |
        subset_data_dir.sh --utt-list /dev/stdin "$1" "$folder/$set$2" > /dev/null
    done
  done
}

# of_runs <file> <key>…: print these values of each run of a file of runs (pyscripts/plan_runs.py), a line for each.
of_runs() {
  python3 -c 'import json, sys
for run in map(json.loads, open(sys.argv[1], encoding="utf-8")):
    print(*(run["tests"][key[6:]] if key.startswith("tests.") else run[key] for key in sys.argv[2:]))' "$@"
}

# set_training_device: check --ngpu, --num-nodes, --num-processes and --train-threads, fill in those that are empty, and
# set opt[device] (cpu or cuda), opt[processes] of a training on a node, opt[train-cmd] and opt[score-cmd] (runners).
set_training_device() {
  [ -n "${opt[ngpu]}" ] || opt[ngpu]=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU' | sed 's/^[1-9].*/1/') || opt[ngpu]=0
  case ${opt[num-nodes]}/$cuda_cmd in
    1/*) ;;
    */run.py*) die "--num-nodes ${opt[num-nodes]}: run.py knows one machine; choose a cluster's runner in cmd.sh" ;;
  esac
  if [ "${opt[ngpu]}" -gt 0 ] && [ "${opt[num-processes]}" -gt 1 ]; then
    die "--num-processes is for trainings without GPU; with --ngpu ${opt[ngpu]} each GPU has its process"
  fi
  opt[device]=cpu opt[processes]=${opt[num-processes]} opt[train-cmd]=$cuda_cmd opt[score-cmd]=$cuda_cmd
  if [ "${opt[ngpu]}" -gt 0 ]; then
    opt[device]=cuda opt[processes]=${opt[ngpu]} opt[train-cmd]+=" --gpu ${opt[ngpu]}" opt[score-cmd]+=" --gpu 1"
  fi
  if [ -z "${opt[train-threads]}" ]; then
    opt[train-threads]=$(($(getconf _NPROCESSORS_ONLN) / opt[processes]))
    [ "${opt[train-threads]}" -le 4 ] || opt[train-threads]=4
    [ "${opt[train-threads]}" -ge 1 ] || opt[train-threads]=1
  fi
  opt[train-cmd]+=" --num-threads $((opt[processes] * opt[train-threads]))"
  opt[score-cmd]+=" --num-threads ${opt[train-threads]}"
  [ "${opt[num-nodes]}" -eq 1 ] || opt[train-cmd]+=" --num-nodes ${opt[num-nodes]}"
}
