#!/usr/bin/env bash
# Task emotion: lists with utt2emo, copies to train on and noisy ones to test on, runs with and without folds, their scores.
#
# Usage: local/task_emotion.sh [options] <verb>, in the work directory
#   list-name             print what names of lists have that are not of the corpus's own utterances
#   folds                 print the folds
#   lists                 cut the lists into blocks where asked for; check them, and that no speaker is in two of train,
#                         dev and test
#   sets clean|copies     print the data directories to make features of
#   share clean|copies    give each fold its part of the features of these
#   copies                make the copies, as data directories without features
#   training              what else is to be done before training: nothing
#   train-data            print the training data's name, which stands in the names of runs
#   labels                print the table that has the classes
#   splits                print a JSON line for each fold: what is trained and tested on
#   score <runs> <job>    score the run of that line of a file (pyscripts/plan_runs.py)
#   report                make the tables and figures of everything scored so far
#
# Training data are a sum: clean, or with copies of it, of one kind or of several, in whatever order; their name has the
# kinds in the order noise, speed, pitch, vtlp, emoaug, cyclegan, stargan. Copies in other styles have their number:
# emoaug4, or with --balance true emoaug4-balanced; each fold has its own. So it has its own copies in other emotions,
# cyclegan and stargan. Noisy copies of other SNRs or noises than the default ones are training data of another name:
# --snr "20 15" --noise-kinds music makes train_noisy-music-20-15, and what is trained on them is
# clean+noise-music-20-15 (m5 for -5 dB), which --train-data understands as well.
set -euo pipefail
# shellcheck source=local/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_options "$@" << 'END'
# Task emotion
--snr='10 5 0' SNRS         SNRs of the noisy copies of training data, each for every kind of noise
--noise-kinds='noise music' KINDS  MUSAN's noise, its music, or both, for the same; noise with --noise-dir and no MUSAN
--test-snr='10 0' SNRS      SNRs of the noisy copies of test data, which have noise; none: test on clean data only
--noise=musan musan|babble  where noise comes from: MUSAN's noise, or 3 to 7 speakers of its speech at once
--noise-dir= DIR            … or a folder of one's own recordings
--noise-split=disjoint disjoint|shared  whether tests have other noise files than training
--snr-over=block block|utterance  of blocks: whether the SNR is of each block, or over the utterance that it is cut from,
                            in which noise then runs on from block to block
--block= SECONDS            cut utterances into blocks of so many seconds; 0: whole utterances (default: what the
                            system reads)
--remainder=drop drop|pad   what becomes of the end of an utterance that fills no block: dropped, or a shorter block
--split=speaker speaker|segment  of blocks: the corpus's own, which shares no speaker, or at random, whatever they are
                            cut from: 80 % to train, in folds, and 20 % to test
--cv-folds=5 N+             folds of --split segment
--converter= RUN            EmoAug's network, for copies such as emoaug4: the folder of a training of task synthesis
--converter-options= WORDS  options of system synthesis over those that it was trained with, where folders have moved, say;
                            full paths, quoted where they have blanks
--converter-config= FILE    training options of its fine-tuning to each fold's training speakers, against a discriminator
                            (default: conf/synthesis-finetune.yaml); none: it is taken as it is
--balance=false BOOL        more such copies of rarer emotions, so that all are as many
--reject-copies=true BOOL   false: keep such copies that have a fault, if they are 0.1 s long
--conversion-config= FILE   training options of cyclegan and stargan over those of conf/world-<network>.yaml
--embed-audio=false BOOL    stage 5: report.html holds the first 4 s of each test recording, instead of a link
--
# Set by run.sh
--recipe= NAME              recipe
--corpus-data=data DIR      folder of the lists of the corpus
--data=data DIR             folder of the data directories
--system-block= SECONDS     how long the blocks are that the system reads
--exp=exp DIR               folder of the runs
--emotions= EMOTIONS        classes
--folds= FOLDS              folds, if the recipe has any
--train-data=clean D        clean, or clean+noise, clean+noise+speed and other such sums
--tests-only=false BOOL     make the features of the tests alone, since nothing is trained
--raw= S                    what the system appends to the name of a data directory before VAD …
--suffix=_voiced S          … and for its features
--musan-dir= DIR            MUSAN
--ngpu= N                   GPUs that the converter is fine-tuned on
--train-threads= N+         … or CPU threads
--nj=4 N+                   parallel jobs
--cmd=run.py CMD            job runner
END
data=${opt[data]} suffix=${opt[suffix]}

# Lists of blocks have a folder, and runs on them another, of their own.
block=${opt[block]:-${opt[system-block]:-0}} list_name='' all_folds=${opt[folds]}
[[ $block =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "--block takes seconds, not '$block'"
if [ "$block" != 0 ]; then
  list_name=${block}s
  [ "${opt[remainder]}" = drop ] || list_name+=-${opt[remainder]}
  if [ "${opt[split]}" = segment ]; then
    list_name+=-segment
    [ "${opt[cv-folds]}" = 5 ] || list_name+=${opt[cv-folds]}
    all_folds=$(seq -s ' ' "${opt[cv-folds]}")
  fi
else
  [ "${opt[remainder]}" = drop ] || die "--remainder ${opt[remainder]} is of blocks; say how long they are with --block"
  [ "${opt[split]}" = speaker ] || die "--split segment is of blocks; say how long they are with --block"
fi
[ "${opt[split]}" = segment ] || [ "${opt[cv-folds]}" = "${opt_default[cv-folds]}" ] || die "--cv-folds is of --split segment"

# So have those with other noise.
other_noise=''
[ "${opt[noise]}" = musan ] || other_noise+=-${opt[noise]}
if [ -n "${opt[noise-dir]}" ]; then
  [ "${opt[noise]}" = musan ] || die "--noise-dir and --noise ${opt[noise]} are two sources of noise; choose one"
  [ -d "${opt[noise-dir]}" ] || die "--noise-dir ${opt[noise-dir]}: no such folder; name it from / or with ./ before it"
  other_noise+=-noise-$(basename "${opt[noise-dir]}" | tr -c 'A-Za-z0-9.\n' -)
fi
[ "${opt[noise-split]}" = disjoint ] || other_noise+=-${opt[noise-split]}
over=()
if [ "${opt[snr-over]}" = utterance ]; then
  [ "$block" != 0 ] || die "--snr-over utterance is of blocks; the SNR of whole utterances is over them anyway"
  other_noise+=-snr-over-utterance
  over=("${opt[corpus-data]}"/{train,dev,test})
  [ -z "${opt[folds]}" ] || over=("${opt[corpus-data]}/all")
  [ -f "${over[0]}/utt2spk" ] || over=("${opt[corpus-data]}"/{train,dev,test})
  over=(--snr-over "${over[*]}")
fi
list_name+=$other_noise
list_name=${list_name#-}

# The copies to train on are words of the training data's name. What is peculiar to a kind stands here and in make_copy.
kinds_of_copies='noise speed pitch vtlp emoaug cyclegan stargan' # in the order of names
[[ ${opt[train-data]} =~ ^clean(\+(${kinds_of_copies// /|})([1-9][0-9]*)?(-[A-Za-z0-9.-]*)?)*$ ]] ||
  die "--train-data is clean, or a sum such as clean+noise or clean+speed+vtlp, of ${kinds_of_copies/emoaug/emoaug1}; not" \
    "'${opt[train-data]}'"
declare -A word_of=()
for word in $(tr + ' ' <<< "${opt[train-data]#clean}"); do
  kind=${word%%[0-9-]*}
  [ -z "${word_of[$kind]:-}" ] || die "--train-data ${opt[train-data]}: $kind is there twice"
  case $word in
    noise | noise-* | "${kind/emoaug/}") ;;
    emoaug | emoaug-*) die "--train-data ${opt[train-data]}: emoaug has a number, that of the copies: emoaug4" ;;
    emoaug*)
      [[ $word =~ ^emoaug[0-9]+(-balanced)?$ ]] || die "--train-data ${opt[train-data]}: after emoaug's number comes -balanced or nothing"
      ;;
    *) die "--train-data ${opt[train-data]}: $kind has no options" ;;
  esac
  word_of[$kind]=$word
done

# Options in the name of noisy copies come before those beside it.
noise=${word_of[noise]:-noise} named_kinds='' named_snrs=''
for word in $(tr - ' ' <<< "${noise#noise}"); do
  case $word in
    [0-9]* | m[0-9]*) named_snrs+="${word/#m/-} " ;;
    *) named_kinds+="$word " ;;
  esac
done
if [ -n "${opt[noise-dir]}" ] && [ -z "${opt[musan-dir]}" ] && [ "${opt[noise-kinds]}" = "${opt_default[noise-kinds]}" ]; then
  opt[noise-kinds]=noise
fi
opt[snr]=${named_snrs:-${opt[snr]}} opt[noise-kinds]=${named_kinds:-${opt[noise-kinds]}}
for option in snr test-snr; do
  [ "$option ${opt[$option]}" != 'test-snr none' ] || continue
  [[ ${opt[$option]} = *[^\ ]* ]] || die "--$option cannot be empty"
  for word in ${opt[$option]}; do
    [[ $word =~ ^-?[0-9]+(\.[0-9]+)?$ ]] || die "--$option takes numbers in dB, not '$word'"
  done
done
for word in ${opt[noise-kinds]:-none}; do
  [[ $word =~ ^(noise|music)$ ]] || die "--noise-kinds are noise and music, not '$word'"
done
sorted() { tr ' ' '\n' <<< "$1" | sed '/^$/d' | sort -u "${@:2}" | xargs; }
snrs=$(sorted "${opt[snr]}" -rn) kinds=$(sorted "${opt[noise-kinds]}" -r) variant=''
[ "$kinds" = "${opt_default[noise-kinds]}" ] || variant+=-${kinds// /-}
[ "$snrs" = "${opt_default[snr]}" ] || variant+=$(sed 's/^/-/; s/ /-/g; s/--/-m/g' <<< "$snrs")
[ -z "${word_of[noise]:-}" ] || word_of[noise]=noise$variant
styles=${word_of[emoaug]:-}
if [ -n "$styles" ] && [ -z "${opt[converter]}" ]; then
  die "--train-data ${opt[train-data]}: name EmoAug's network, --converter RUN, the folder of a training of task synthesis"
fi
if [ "${opt[balance]}" = true ]; then
  [ -n "$styles" ] || die "--balance true is of copies in other styles, --train-data clean+emoaug4"
  word_of[emoaug]=${styles%-balanced}-balanced
fi
train_data=clean copies=() # the training data's name, and what is added to the name of a data directory for each kind
for kind in $kinds_of_copies; do
  word=${word_of[$kind]:-}
  [ -z "$word" ] || { train_data+=+$word && copies+=("_${word/#noise/noisy}"); }
done

# Where folds share every recording, features are made once, of all of them.
split_dirs=("$data") sets=(train dev test) train=$data/train test=$data/test trained=true
if [ "${opt[tests-only]}" = true ]; then trained='' sets=(test) copies=(); fi
if [ -n "${opt[folds]}" ]; then
  split_dirs=() sets=(all) train=$data/all test=$data/all
  for fold in ${opt[folds]}; do split_dirs+=("$data/fold$fold"); done
fi
noisy_tests=()
[ "${opt[test-snr]}" = none ] || for snr in $(sorted "${opt[test-snr]}" -rn); do noisy_tests+=("test_snr$snr"); done

# copy_corpus_lists: lists of whole utterances in a folder of their own are those of the corpus.
copy_corpus_lists() {
  local path
  for path in "${opt[corpus-data]}"/{all,train,dev,test} "${opt[corpus-data]}"/fold*/{train,dev,test}; do
    [ ! -f "$path/utt2spk" ] || copy_lists "$path" "$data${path#"${opt[corpus-data]}"}"
  done
}

check_lists() {
  local dir set lists=()
  [ "$block" = 0 ] || guarded "$SER_ROOT/pyscripts/cut_lists.py" --length "$block" --remainder "${opt[remainder]}" \
    --split "${opt[split]}" --cv-folds "${opt[cv-folds]}" "${opt[corpus-data]}" "$data"
  for dir in "${split_dirs[@]}"; do
    for set in train dev test; do
      validate_data_dir.sh --no-feats ${opt[emotions]:+--emotions "${opt[emotions]}"} "$dir/$set" > /dev/null
      lists+=("$dir/$set")
    done
    [ "${opt[split]}" = segment ] || "$SER_ROOT/pyscripts/data_dir.py" check-disjoint "${lists[@]: -3}" > /dev/null
  done
  "$SER_ROOT/pyscripts/data_dir.py" class-counts --emotions "${opt[emotions]}" --all-in train "${lists[@]}"
  [ "${opt[split]}" = segment ] || echo "no speaker is in two of train, dev and test"
}

# make_copy <copy>: make the copies of one kind of the training data, as a data directory without features.
make_copy() {
  local kind noise_lists='' number balance=false dirs=$train
  case $1 in
    _noisy*)
      for kind in $kinds; do
        [ -f "$data/noise/${kind}_train.scp" ] ||
          die "--noise-kinds: there is no $kind without --musan-dir; name that, or --noise-kinds noise"
        noise_lists+="$data/noise/${kind}_train.scp "
      done
      guarded augment_data_dir.sh --each true --snr "$snrs" "${over[@]}" "$train${opt[raw]}" \
        "${noise_lists% }" "$train$1${opt[raw]}"
      ;;
    _emoaug*)
      [[ $1 = *-balanced ]] && balance=true
      number=${1#_emoaug}
      [ -n "${opt[folds]}" ] || dirs="$data/train $data/dev"
      guarded "$SER_ROOT/local/convert_copies.sh" --converter "${opt[converter]}" \
        --converter-options "${opt[converter-options]}" --converter-config "${opt[converter-config]}" \
        --copies "${number%-balanced}" --balance "$balance" --reject-copies "${opt[reject-copies]}" \
        --ngpu "${opt[ngpu]}" ${opt[train-threads]:+--train-threads "${opt[train-threads]}"} \
        --nj "${opt[nj]}" --cmd "${opt[cmd]}" copies "train$1" "$dirs" "${split_dirs[@]}"
      ;;
    _cyclegan | _stargan)
      [ -n "${opt[folds]}" ] || dirs="$data/train $data/dev"
      guarded "$SER_ROOT/local/rival_copies.sh" --conversion-config "${opt[conversion-config]}" \
        --reject-copies "${opt[reject-copies]}" --ngpu "${opt[ngpu]}" \
        ${opt[train-threads]:+--train-threads "${opt[train-threads]}"} --nj "${opt[nj]}" --cmd "${opt[cmd]}" \
        copies "${1#_}" "$dirs" "${split_dirs[@]}"
      ;;
    *) guarded perturb_data_dir.sh --kind "${1#_}" "$train${opt[raw]}" "$train$1${opt[raw]}" ;;
  esac
}

make_copies() {
  local copy name
  if [[ " ${copies[*]}" = *" _noisy"* ]] || [ ${#noisy_tests[@]} -gt 0 ]; then prepare_noise "${opt[corpus-data]}" "$data"; fi
  for copy in "${copies[@]}"; do make_copy "$copy"; done
  for name in "${noisy_tests[@]}"; do
    guarded augment_data_dir.sh --snr "${name#test_snr}" "${over[@]}" "$test${opt[raw]}" \
      "$data/noise/noise_test.scp" "$data/$name${opt[raw]}"
  done
  [ ${#copies[@]} -gt 0 ] || [ ${#noisy_tests[@]} -gt 0 ] || echo "none: --test-snr none, and training on clean data"
}

# share <features> <set> <name> [<utt2uniq>]: give every fold the features of its set's utterances, or of their copies,
# which a table names, <copy> <utterance>.
share() {
  local dir utterances wanted found column=1
  [ $# -lt 4 ] || column=2
  for dir in "${split_dirs[@]}"; do
    utterances=$(awk -v column=$column 'NR == FNR { of_set[$1]; next } $column in of_set { print $1 }' \
      "$dir/$2/utt2spk" "${4:-$dir/$2/utt2spk}")
    subset_data_dir.sh --utt-list /dev/stdin "$1" "$dir/$3" <<< "$utterances" > /dev/null
    wanted=$(wc -l <<< "$utterances") found=$(wc -l < "$dir/$3/utt2spk")
    [ "$wanted" = "$found" ] || echo "$dir/$3: $((wanted - found)) of $wanted utterances have no features (see above)"
  done
}

print_splits() {
  local dir name fold copy train tests
  for dir in "${split_dirs[@]}"; do
    fold=null
    [ "$dir" = "$data" ] || fold=${dir#"$data/fold"}
    train="\"$dir/train$suffix\"" tests="\"test\": \"$dir/test$suffix\""
    tests+=", \"test_diluted\": \"$dir/test$suffix\"" # made by score.py, of the clean test's features
    for copy in "${copies[@]}"; do train+=", \"$dir/train$copy$suffix\""; done
    for name in "${noisy_tests[@]}"; do tests+=", \"$name\": \"$dir/$name$suffix\""; done
    echo "{\"fold\": $fold, \"train\": [$train], \"dev\": \"$dir/dev$suffix\", \"tests\": {$tests},"\
      "\"test_list\": \"$dir/test\"}"
  done
}

case "${args[*]}" in
  list-name) echo "$list_name" ;;
  folds) echo "$all_folds" ;;
  lists)
    [ "$block" != 0 ] || [ "$data" = "${opt[corpus-data]}" ] || copy_corpus_lists
    check_lists
    ;;
  'sets clean') printf "$data/%s\n" "${sets[@]}" ;;
  'sets copies')
    for copy in "${copies[@]}"; do
      case $copy in
        _emoaug* | _cyclegan | _stargan) printf "%s/train$copy\n" "${split_dirs[@]}" ;; # which a fold does not share
        *) echo "$train$copy" ;;
      esac
    done
    for set in "${noisy_tests[@]}"; do echo "$data/$set"; done
    ;;
  copies) make_copies ;;
  'share clean')
    [ -z "${opt[folds]}" ] || for set in ${trained:+train dev} test; do share "$data/all$suffix" "$set" "$set$suffix"; done
    ;;
  'share copies')
    if [ -n "${opt[folds]}" ]; then
      for copy in "${copies[@]}"; do
        case $copy in _emoaug* | _cyclegan | _stargan) continue ;; esac
        share "$train$copy$suffix" train "train$copy$suffix" "$train$copy${opt[raw]}/utt2uniq"
      done
      for set in "${noisy_tests[@]}"; do share "$data/$set$suffix" test "$set$suffix"; done
    fi
    ;;
  training) ;;
  train-data) echo "$train_data" ;;
  labels) echo utt2emo ;;
  splits) print_splits ;;
  score\ *) exec "$SER_ROOT/pyscripts/score.py" --runs "${args[1]}" --job "${args[2]}" ;;
  report)
    notes=()
    [ ! -f "$data/leak" ] || notes=(--note "$(cat "$data/leak")")
    [ ! -f "$data/noise/about" ] || notes+=(--note "$(cat "$data/noise/about")")
    exec "$SER_ROOT/pyscripts/report.py" --exp-dir "${opt[exp]}" --recipe "${opt[recipe]}" \
      --embed-audio "${opt[embed-audio]}" "${notes[@]}"
    ;;
  *) die "no verb '${args[*]}' (--help lists them)" ;;
esac
