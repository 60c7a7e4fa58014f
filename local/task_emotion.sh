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
# What training data are is said in local/emotion_copies.sh.
set -euo pipefail
# shellcheck source=local/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=local/emotion_copies.sh
. "$SER_ROOT/local/emotion_copies.sh"
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

name_copies # sets train_data, and copies
[ "${opt[test-snr]}" = none ] || check_snrs test-snr

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
      if is_of_fold "$copy"; then printf "%s/train$copy\n" "${split_dirs[@]}"; else echo "$train$copy"; fi
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
        is_of_fold "$copy" || share "$train$copy$suffix" train "train$copy$suffix" "$train$copy${opt[raw]}/utt2uniq"
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
