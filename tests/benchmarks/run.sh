#!/usr/bin/env bash
# Every benchmark, one after the other: writes benchmarks.md and growth.png.
#
# Usage: tests/benchmarks/run.sh [options]
#  e.g.: tests/benchmarks/run.sh --out /tmp/benchmarks
#        tests/benchmarks/run.sh --quick false --parts "training growth" --device cuda
#
# Needs a machine with nothing else to do; benchmarks.md notes the load. Where the corpus is there, features are made
# from it in <out>/data first, which a rerun keeps; where not, random ones of like lengths serve, and say so. A part
# that fails is named at the end, with exit status 1, and its messages are in <out>/log; the others go on.
set -euo pipefail

export SER_DEV=1
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../path.sh"
# shellcheck source=utils/parse_options.sh
. "$SER_ROOT/utils/parse_options.sh"
parse_options "$@" << 'END'
--out=exp/benchmarks DIR    where results go
--parts='frontend mixing training ceiling evaluation growth recipe scale runners synthesis encoder finetuning perturb images' PARTS  which
--quick=true BOOL           minutes; false: more data and rounds, and growth over whole epochs
--device=auto auto|cpu|cuda  of the parts with a network
--threads= N+               CPU threads of the parts with a network; all cores if not given
--utterances= N+            of training and evaluation; a part's own default if not given
--rounds= N+                medians of so many; a part's own default if not given
--corpus-dir= DIR           RAVDESS; data/ravdess in $SER_SHARED (../shared) if not given
--musan-dir= DIR            folder with noise/ and music/; data/musan there if not given
--nj=2 N+                   jobs that make features
END
[ ${#args[@]} -eq 0 ] || die "unexpected ${args[0]} (--help explains)"

here=$SER_ROOT/tests/benchmarks
shared=${SER_SHARED:-$SER_ROOT/../shared}
corpus_dir=${opt[corpus-dir]:-$shared/data/ravdess}
musan_dir=${opt[musan-dir]:-$shared/data/musan}
out=${opt[out]}
for part in ${opt[parts]}; do
  [ -f "$here/bench_$part.py" ] || die "--parts: no bench_$part.py in $here"
done
mkdir -p "$out/log"
out=$(cd "$out" && pwd)

make_features() { # called where set -e does not hold
  "$SER_ROOT/egs/ravdess/local/prepare.py" --corpus-dir "$corpus_dir" --allow-partial true "$out/data" &&
  "$SER_ROOT/steps/make_mfcc.sh" --nj "${opt[nj]}" "$out/data/all" &&
  "$SER_ROOT/steps/compute_vad.sh" --nj "${opt[nj]}" "$out/data/all" &&
  "$SER_ROOT/steps/prepare_feats.sh" --nj "${opt[nj]}" "$out/data/all" "$out/data/ravdess_voiced"
}

network=(--device "${opt[device]}") data=()
[ -z "${opt[threads]}" ] || network+=(--threads "${opt[threads]}")
if [ -d "$corpus_dir" ]; then
  echo "features of $corpus_dir"
  make_features > "$out/log/features.log" 2>&1 || { cat "$out/log/features.log" >&2; exit 1; }
  data=(--data "$out/data/ravdess_voiced")
else
  echo "no $corpus_dir: random features of its lengths; frontend, mixing, recipe and images need recordings (--corpus-dir)"
fi

size=() turns=()
[ -z "${opt[utterances]}" ] || size=(--utterances "${opt[utterances]}")
[ -z "${opt[rounds]}" ] || turns=(--rounds "${opt[rounds]}")

# options PART: the options of one part, in the array $options.
options() {
  case $1 in
    frontend) options=(--corpus-dir "$corpus_dir" --musan-dir "$musan_dir" "${turns[@]}") ;;
    mixing) options=(--corpus-dir "$corpus_dir" --noise-dir "$musan_dir/noise" "${turns[@]}") ;;
    training | evaluation) options=("${network[@]}" "${data[@]}" "${size[@]}" "${turns[@]}") ;;
    ceiling) options=("${network[@]}" "${data[@]}" "${turns[@]}") ;;
    growth) options=("${network[@]}" "${data[@]}" "${turns[@]}" --png "$out/growth.png") ;;
    recipe) options=("${network[@]}" --corpus-dir "$corpus_dir") ;;
    synthesis | encoder | finetuning) options=("${network[@]}" "${turns[@]}") ;;
    perturb) options=("${turns[@]}") ;;
    images) options=(--corpus-dir "$corpus_dir" --noise-dir "$musan_dir/noise" "${turns[@]}") ;;
    *) options=() ;;
  esac
  if [ "${opt[quick]}" = true ]; then return; fi
  case $1 in # what was given on the command line comes later and counts
    mixing) options=(--recordings 864 "${options[@]}") ;;
    training) options=(--utterances 768 --rounds 5 "${options[@]}") ;;
    evaluation) options=(--utterances 864 --rounds 5 "${options[@]}") ;;
    ceiling) options=(--rounds 15 "${options[@]}") ;;
    growth) options=(--steps 0 --rounds 3 "${options[@]}") ;;
    recipe) options=(--recordings 864 --epochs 5 "${options[@]}") ;;
  esac
}

report=$out/benchmarks.md
echo "# Benchmarks, $(date '+%Y-%m-%d %H:%M'), revision $(git -C "$SER_ROOT" describe --always --dirty)" > "$report"
failed=
for part in ${opt[parts]}; do
  options "$part"
  echo "$(date '+%H:%M:%S') bench_$part.py ${options[*]}"
  command="python3 tests/benchmarks/bench_$part.py ${options[*]}"
  echo -e "\n    $command\n" >> "$report"
  if python3 "$here/bench_$part.py" "${options[@]}" > "$out/log/$part.txt" 2> "$out/log/$part.log"; then
    # Parts that write no Markdown are shown as they are.
    if grep -q '^## ' "$out/log/$part.txt"; then
      cat "$out/log/$part.txt"
    else
      echo -e "## $part\n"
      sed 's/^/    /' "$out/log/$part.txt"
    fi >> "$report"
  else
    failed+=" $part"
    echo -e "## $part\n\nFailed: $(tail -n 1 "$out/log/$part.log")" >> "$report"
    tail -n 3 "$out/log/$part.log" >&2
  fi
done
echo "results: $report"
[ -z "$failed" ] || { echo "failed:$failed; see $out/log" >&2; exit 1; }
