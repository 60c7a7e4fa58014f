# shellcheck shell=bash disable=SC2034,SC2154
# Speaker recognition, for pre-training: what the driver (run.sh), which sources this, does for recipes of that task.
# Recipes say how many noisy copies there are of each utterance ($noise_passes), and what a speaker needs to be kept:
# $min_utts utterances of at least $min_frames voiced frames.
train_data=${train_data:-clean+noise}
[[ $noise_passes =~ ^[1-9][0-9]*$ ]] || die "--noise-passes takes a number from 1, not '$noise_passes'"
[[ $feature_dtype =~ ^float(16|32)$ ]] || die "--feature-dtype is float16 or float32, not '$feature_dtype'"
for number in "$min_utts" "$min_frames"; do
  [[ $number =~ ^[0-9]+$ ]] || die "--min-utts and --min-frames take whole numbers, not '$number'"
done
copies=()
for ((pass = 1; pass <= noise_passes; pass++)); do copies+=("train_noisy$pass"); done
packed=data/packed_$train_data

check_lists() {
  local set
  for set in train dev test; do validate_data_dir.sh --no-feats --no-emo "data/$set" > /dev/null; done
  for set in train dev; do "$SER_ROOT/pyscripts/data_dir.py" check-disjoint "data/$set" data/test > /dev/null; done
  "$SER_ROOT/pyscripts/data_dir.py" speaker-counts data/train data/dev data/test
  "$SER_ROOT/pyscripts/score_trials.py" --trials data/test/trials --check data/test
  echo "no speaker of test is in train or dev; $(wc -l < data/test/trials) trials"
}

make_features() {
  local set
  # Where recordings are decoded by a program, its absence must not be taken for damage to the recordings.
  if grep -q '^[^ ]* *ffmpeg ' data/*/wav.scp && ! command -v ffmpeg > /dev/null; then
    die "ffmpeg is not on PATH, and recordings of this corpus are decoded by it; install it on every machine that runs jobs"
  fi
  for set in train dev test; do features "$set"; done
  "$SER_ROOT/pyscripts/score_trials.py" --trials data/test/trials --check data/test_voiced
}

make_copies() {
  if [ "$train_data" = clean ]; then echo "none for --train-data clean"; return; fi
  prepare_noise
  local pass dir dirs=() pairs=() own_vad=false
  if [ "$copy_vad" = own ]; then own_vad=true; fi
  for ((pass = 1; pass <= noise_passes; pass++)); do
    dir=data/train_noisy$pass
    dirs+=("$dir") pairs+=("$dir" "${dir}_voiced")
    guarded augment_data_dir.sh --snr "10 5 0" --suffix "noisy$pass" --seed "$pass" --own-vad "$own_vad" \
      data/train "data/noise/noise_train.scp data/noise/music_train.scp" "$dir"
  done
  guarded make_mfcc.sh "${jobs[@]}" --mfcc-config "$mfcc_config" --copies "${dirs[*]}"
  if [ "$copy_vad" = own ]; then
    for dir in "${dirs[@]}"; do guarded compute_vad.sh --nj "$nj" --cmd "$train_cmd" "$dir"; done
  fi
  guarded prepare_feats.sh "${jobs[@]}" --cmn "$cmn" --copies "${pairs[*]}"
}

prepare_training() {
  local copy kept=(data/train_kept)
  "$SER_ROOT/pyscripts/data_dir.py" filter-speakers --min-utts "$min_utts" --min-frames "$min_frames" \
    data/train_voiced data/train_kept
  "$SER_ROOT/pyscripts/data_dir.py" filter-speakers --speakers-of data/train_kept data/dev_voiced data/dev_kept
  if [ "$train_data" = clean+noise ]; then
    for copy in "${copies[@]}"; do
      "$SER_ROOT/pyscripts/data_dir.py" filter-speakers --min-frames "$min_frames" --speakers-of data/train_kept \
        "data/${copy}_voiced" "data/${copy}_kept"
      kept+=("data/${copy}_kept")
    done
  fi
  guarded pack_feats.sh --cmd "$train_cmd" --dtype "$feature_dtype" "${kept[@]}" "$packed"
}

# The runs asked for: a line "<run directory> <seed>" each.
runs() {
  local seed
  for seed in $seeds; do echo "exp/${train_data}_$init_name/seed$seed $seed"; done
}

# Of one run, given what `runs` says of it.
train_command() { train "$1" "$2" --train "$packed" --dev data/dev_kept --labels utt2spk; }
score_command() {
  echo "$(words "$SER_ROOT/steps/extract_xvectors.sh" --nj 1 --device "$device" "$1" data/test_voiced "$1/xvectors_test")&&" \
    "$(words "$SER_ROOT/pyscripts/score_trials.py" --trials data/test/trials --xvectors "$1/xvectors_test" --out "$1/score_test")"
}

report() { "$SER_ROOT/pyscripts/report_verification.py" --exp-dir exp; }
