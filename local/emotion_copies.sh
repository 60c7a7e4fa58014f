# shellcheck shell=bash disable=SC2154  # variables are those of task_emotion.sh, which sources it
# The copies that emotions are trained on beside clean data, for task_emotion.sh: which kinds there are, what they are called,
# and how each is made. What is peculiar to a kind stands here alone.
#
# Training data are a sum: clean, or with copies of it, of one kind or of several, in whatever order; their name has the
# kinds in the order noise, speed, pitch, vtlp, emoaug, cyclegan, stargan. Copies in other styles have their number:
# emoaug4, or with --balance true emoaug4-balanced; each fold has its own. So it has its own copies in other emotions,
# cyclegan and stargan. Noisy copies of other SNRs or noises than the default ones are training data of another name:
# --snr "20 15" --noise-kinds music makes train_noisy-music-20-15, and what is trained on them is
# clean+noise-music-20-15 (m5 for -5 dB), which --train-data understands as well.

# sorted <words> [<option of sort>]: print words in order, each once.
sorted() { tr ' ' '\n' <<< "$1" | sed '/^$/d' | sort -u "${@:2}" | xargs; }

# check_snrs <option>: check that an option has numbers, and at least one.
check_snrs() {
  local word
  [[ ${opt[$1]} = *[^\ ]* ]] || die "--$1 cannot be empty"
  for word in ${opt[$1]}; do
    [[ $word =~ ^-?[0-9]+(\.[0-9]+)?$ ]] || die "--$1 takes numbers in dB, not '$word'"
  done
}

# name_copies: set train_data, the training data's name, and copies, what is added to the name of a data directory for
# each kind of copy; of noisy ones also snrs and kinds, and opt[snr] and opt[noise-kinds] as the name has them.
name_copies() {
  local word kind styles noise named_kinds='' named_snrs='' variant='' kinds_of_copies
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
  noise=${word_of[noise]:-noise}
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
  check_snrs snr
  for word in ${opt[noise-kinds]:-none}; do
    [[ $word =~ ^(noise|music)$ ]] || die "--noise-kinds are noise and music, not '$word'"
  done
  snrs=$(sorted "${opt[snr]}" -rn) kinds=$(sorted "${opt[noise-kinds]}" -r)
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
}

# is_of_fold <copy>: whether each fold has copies of this kind of its own, made by a network that its speakers trained.
is_of_fold() { [[ $1 = _emoaug* || $1 = _cyclegan || $1 = _stargan ]]; }

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
