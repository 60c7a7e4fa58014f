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
#
# Options
#   --out DIR            where results go (exp/benchmarks)
#   --parts "P …"        which: frontend mixing training ceiling evaluation growth recipe scale runners (all)
#   --quick true|false   minutes; false: more data and rounds, and growth over whole epochs (true)
#   --device D           auto, cpu or cuda, of the parts with a network (auto)
#   --threads N          CPU threads of the parts with a network (all cores)
#   --utterances N       of training and evaluation (a part's own default)
#   --rounds N           medians of so many (a part's own default)
#   --corpus-dir DIR     RAVDESS (data/ravdess in $SER_SHARED, which is ../shared by default)
#   --musan-dir DIR      folder with noise/ and music/ (data/musan there)
#   --nj N               jobs that make features (2)
set -euo pipefail

out=exp/benchmarks
parts="frontend mixing training ceiling evaluation growth recipe scale runners"
quick=true
device=auto
threads=
utterances=
rounds=
corpus_dir=
musan_dir=
nj=2

export SER_DEV=1
. "$(dirname "${BASH_SOURCE[0]}")/../../path.sh"
. "$SER_ROOT/utils/parse_options.sh"
[ $# -eq 0 ] || { echo "$0: error: unexpected $1 (--help explains)" >&2; exit 1; }

here=$SER_ROOT/tests/benchmarks
shared=${SER_SHARED:-$SER_ROOT/../shared}
corpus_dir=${corpus_dir:-$shared/data/ravdess}
musan_dir=${musan_dir:-$shared/data/musan}
for part in $parts; do
  [ -f "$here/bench_$part.py" ] || { echo "$0: error: --parts: no bench_$part.py in $here" >&2; exit 1; }
done
mkdir -p "$out/log"
out=$(cd "$out" && pwd)

make_features() {
  "$SER_ROOT/egs/ravdess/local/prepare.py" --corpus-dir "$corpus_dir" --allow-partial true "$out/data"
  "$SER_ROOT/steps/make_mfcc.sh" --nj "$nj" "$out/data/all"
  "$SER_ROOT/steps/compute_vad.sh" --nj "$nj" "$out/data/all"
  "$SER_ROOT/steps/prepare_feats.sh" --nj "$nj" "$out/data/all" "$out/data/ravdess_voiced"
}

network=(--device "$device") data=()
[ -z "$threads" ] || network+=(--threads "$threads")
if [ -d "$corpus_dir" ]; then
  echo "features of $corpus_dir"
  make_features > "$out/log/features.log" 2>&1 || { cat "$out/log/features.log" >&2; exit 1; }
  data=(--data "$out/data/ravdess_voiced")
else
  echo "no $corpus_dir: random features of its lengths; frontend, mixing and recipe need recordings (--corpus-dir)"
fi

size=() turns=()
[ -z "$utterances" ] || size=(--utterances "$utterances")
[ -z "$rounds" ] || turns=(--rounds "$rounds")

# options PART: the options of one part, in the array $options.
options() {
  case $1 in
    frontend) options=(--corpus-dir "$corpus_dir" --musan-dir "$musan_dir" "${turns[@]}") ;;
    mixing) options=(--corpus-dir "$corpus_dir" --noise-dir "$musan_dir/noise" "${turns[@]}") ;;
    training | evaluation) options=("${network[@]}" "${data[@]}" "${size[@]}" "${turns[@]}") ;;
    ceiling) options=("${network[@]}" "${data[@]}" "${turns[@]}") ;;
    growth) options=("${network[@]}" "${data[@]}" "${turns[@]}" --png "$out/growth.png") ;;
    recipe) options=("${network[@]}" --corpus-dir "$corpus_dir") ;;
    *) options=() ;;
  esac
  $quick && return
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
for part in $parts; do
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
