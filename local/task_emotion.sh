# shellcheck shell=bash disable=SC2034,SC2154
# Emotion recognition: what the driver (run.sh), which sources this, does for recipes of that task. Recipes name the
# classes ($emotions), the folds if there are any ($folds) and the CopyPaste schemes ($scheme).
train_data=${train_data:-clean}
[ -n "$scheme" ] || die "--scheme cannot be empty"
for word in $scheme; do
  [[ $word =~ ^(none|se-cp|n-cp|n\+se-cp)$ ]] || die "--scheme: '$word' is none of none, se-cp, n-cp, n+se-cp"
done
no_word_twice "$scheme"

split_dirs=(data)
base_train=train base_test=test base_sets=(train dev test)
if [ -n "$RECIPE_FOLDS" ]; then
  # Folds share every recording, so features are made once, of all of them.
  split_dirs=()
  for fold in $folds; do split_dirs+=("data/fold$fold"); done
  base_train=all base_test=all base_sets=(all)
fi
copies=()
for kind in noise music; do for snr in 10 5 0; do copies+=("train_${kind}_snr$snr"); done; done
noisy_tests=(test_snr10 test_snr0)

check_lists() {
  local dir set lists=()
  for dir in "${split_dirs[@]}"; do
    for set in train dev test; do
      validate_data_dir.sh --no-feats --emotions "$emotions" "$dir/$set" > /dev/null
    done
    "$SER_ROOT/pyscripts/data_dir.py" check-disjoint "$dir/train" "$dir/dev" "$dir/test" > /dev/null
    lists+=("$dir/train" "$dir/dev" "$dir/test")
  done
  "$SER_ROOT/pyscripts/data_dir.py" class-counts --emotions "$emotions" --all-in train "${lists[@]}"
  echo "no speaker is in two of train, dev and test"
}

make_features() {
  local set
  for set in "${base_sets[@]}"; do features "$set"; done
  for set in train dev test; do in_folds all_voiced "$set" '' "${set}_voiced"; done
}

make_copies() {
  prepare_noise
  noisy_copies "$base_train" train "${copies[@]}"
  noisy_copies "$base_test" test "${noisy_tests[@]}"
}

# noisy_copies <from> <set> <copy>…: copies of data/<from> and their features; an utterance is read once for all of them.
noisy_copies() {
  local from=$1 set=$2 copy kind list suffix own_vad=false dirs=() pairs=()
  local -A suffixes
  shift 2
  if [ "$copy_vad" = own ]; then own_vad=true; fi
  for copy in "$@"; do
    case $copy in
      train_*) kind=${copy#train_} list=${kind%_snr*}_train suffix=${kind//_/-} ;;
      test_*) list=noise_test suffix='' ;;
    esac
    guarded augment_data_dir.sh --snr "${copy##*snr}" --suffix "$suffix" --own-vad "$own_vad" \
      "data/$from" "data/noise/$list.scp" "data/$copy"
    suffixes[$copy]=${suffix:+-$suffix} dirs+=("data/$copy") pairs+=("data/$copy" "data/${copy}_voiced")
  done
  guarded make_mfcc.sh "${jobs[@]}" --mfcc-config "$mfcc_config" --copies "${dirs[*]}"
  if [ "$copy_vad" = own ]; then
    for copy in "$@"; do guarded compute_vad.sh --nj "$nj" --cmd "$train_cmd" "data/$copy"; done
  fi
  guarded prepare_feats.sh "${jobs[@]}" --cmn "$cmn" --copies "${pairs[*]}"
  for copy in "$@"; do in_folds "${copy}_voiced" "$set" "${suffixes[$copy]}" "${copy}_voiced"; done
}

# in_folds <features> <set> <suffix> <name>: in every fold, the features of the set's utterances (ids with the suffix).
in_folds() {
  local fold dir wanted found
  [ -n "$RECIPE_FOLDS" ] || return 0
  for fold in $folds; do
    dir=data/fold$fold
    awk -v suffix="$3" '{ print $1 suffix }' "$dir/$2/utt2spk" |
      subset_data_dir.sh --utt-list /dev/stdin "data/$1" "$dir/$4" > /dev/null
    wanted=$(wc -l < "$dir/$2/utt2spk") found=$(wc -l < "$dir/$4/utt2spk")
    [ "$wanted" = "$found" ] || echo "$dir/$4: $((wanted - found)) of $wanted utterances have no features (see above)"
  done
}

prepare_training() { :; }

# The runs asked for: a line "<run directory> <its data directory> <scheme> <seed>" each.
runs() {
  local s dir seed
  for s in $scheme; do
    for dir in "${split_dirs[@]}"; do
      for seed in $seeds; do
        echo "exp/${train_data}_${s}_$init_name${dir#data}/seed$seed $dir $s $seed"
      done
    done
  done
}

# Of one run, given what `runs` says of it.
train_command() {
  local copy train=("$2/train_voiced")
  if [ "$train_data" = clean+noise ]; then
    for copy in "${copies[@]}"; do train+=("$2/${copy}_voiced"); done
  fi
  train "$1" "$4" --train "${train[@]}" --dev "$2/dev_voiced" --scheme "$3"
}
score_command() {
  local test tests=(test="$2/test_voiced")
  for test in "${noisy_tests[@]}"; do tests+=("$test=$2/${test}_voiced"); done
  words "$SER_ROOT/pyscripts/score.py" --device "$device" --tests "${tests[@]}" --run "$1"
}

report() { "$SER_ROOT/pyscripts/report.py" --exp-dir exp --recipe "$recipe"; }
