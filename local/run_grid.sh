#!/usr/bin/env bash
# A paper's grid: every training of its tables on the corpora named, scored, beside the paper's numbers.
#
# Usage: local/run_grid.sh [options] <corpus>…
#  e.g.: local/run_grid.sh --musan-dir /corpora/musan cremad=/corpora/CREMA-D \
#          iemocap=/corpora/IEMOCAP_full_release msp_podcast=/corpora/MSP-PODCAST-Publish-1.4
#
# A <corpus> is a recipe of egs/, with the folder of its corpus; options of egs/<recipe>/run.sh may follow within the
# same word: "iemocap=/corpora/IEMOCAP_full_release --merge-excited true --folds '1 2'".
#
# Stages; what is finished is skipped, so an interrupted command is simply given again
#   0-2  lists and features of each corpus, once for all its runs (run.sh, stages 0 to 2)
#   3    training and scores of every run of every corpus that is not finished, as one array of jobs of $cuda_cmd (cmd.sh)
#   5    tables of each corpus (<work dir>/exp/results) and over all (<grid dir>/results)
# What fails stops nothing else; it is listed with its log, and the exit status is then 1.
#
# --paper copypaste, Tables 2 to 6: the CopyPaste schemes, with and without noisy copies, from random weights and from a
# pre-trained model.
# --paper noise-mixup, Tables 2, 3, 5 and 6, Figures 2 and 4 to 6: a network on spectrogram images of blocks of a second,
# with and without noisy copies at 40, 20 and 15 dB, and CopyPaste's ResNet on the same blocks, with blocks split at random as in
# the paper and by speaker; of IEMOCAP's improvised part with excitement in place of happiness, too.
# --paper emoaug, Table 1: a linear layer on a pretrained encoder (--encoder), on clean data, with SE-CP, and with copies at
# other speeds, of other pitch, of other vocal tracts, and in other emotions by CycleGAN and StarGAN; of IEMOCAP with
# excitement as happiness.
set -euo pipefail
# shellcheck source=local/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_options "$@" << END
--paper=copypaste copypaste|noise-mixup|emoaug  whose tables are filled
--dry-run=false BOOL        list every run and its state, and do nothing
--scheme= SCHEMES           of CopyPaste (default: none se-cp n-cp n+se-cp; noise-mixup: n+se-cp; emoaug, on
                            clean data: none se-cp)
--network= NAME             noise-mixup: the network on images (default: alexnet)
--weights= FILE             noise-mixup: its ImageNet weights, as of run.sh
--train-data= DATA          of the recipes, each as of run.sh (default: clean clean+noise; emoaug: clean clean+speed
                            clean+pitch clean+vtlp clean+cyclegan clean+stargan)
--encoder= DIRS             emoaug: folders of pretrained encoders, as of run.sh; the first has all trainings, others, of
                            another kind (WavLM, data2vec-audio), that on clean data alone
--encoder-mode=finetune finetune|frozen  emoaug: as of run.sh; the paper fine-tunes
--encoder-layer= LAYER      emoaug: likewise, of all of them
--init= DIR                 copypaste: pre-trained model for the cells with x-vector initialisation; without it they wait,
                            and the tables show them as missing. random: leave them out. noise-mixup: random, or
                            imagenet, the default, of the network on images
--seeds='0 1 2' SEEDS        a training for each
--musan-dir= DIR            MUSAN, for noisy copies; fetched where the folder does not exist (11 GB)
--work-dir= DIR             data/ and exp/ of each recipe go to DIR/<recipe>, and the grid's own files to DIR/grid
                            (default: egs/<recipe> and exp/grid)
--config= FILE              training options over those of conf/train.yaml and egs/<recipe>/conf/train.yaml (default:
                            conf/NAME.yaml with the tag paper, the options of that paper; emoaug: those of its network)
--tag= T                    ends the names of the runs' folders, as of run.sh
--nj=$(getconf _NPROCESSORS_ONLN) N+     parallel jobs of feature extraction
--ngpu= 0|1                 GPUs of a training (default: 1 if this machine has one)
--train-threads= N+         CPU threads of a training (default: 4, or all cores if they are fewer)
--stage=0 0|1|2|3|4|5       first stage
--stop-stage=5 0|1|2|3|4|5  last stage
END
[ ${#args[@]} -gt 0 ] || die "name at least one corpus, such as cremad=/corpora/CREMA-D (--help explains)"
[ -n "${opt[seeds]}" ] || die "--seeds cannot be empty"
opt[num-nodes]=1 opt[num-processes]=1 # of so many trainings each uses one GPU, and they run side by side
set_training_device
inits=(random) waiting=() systems=(mfcc) train_data=${opt[train-data]:-clean clean+noise}
if [ "${opt[paper]}" != noise-mixup ]; then
  for option in network weights; do [ -z "${opt[$option]}" ] || die "--$option is of --paper noise-mixup"; done
fi
if [ "${opt[paper]}" != emoaug ]; then
  for option in encoder encoder-layer; do [ -z "${opt[$option]}" ] || die "--$option is of --paper emoaug"; done
fi
if [ "${opt[paper]}" = emoaug ]; then
  [ -n "${opt[encoder]}" ] || die "--encoder: name the folder of a pretrained encoder"
  [ -z "${opt[init]}" ] || die "--init is not of --paper emoaug, which starts from --encoder"
  train_data=${opt[train-data]:-clean clean+speed clean+pitch clean+vtlp clean+cyclegan clean+stargan} inits=('') systems=()
  [ -z "$(xargs -n 1 basename <<< "${opt[encoder]}" | sort | uniq -d)" ] ||
    die "--encoder: two folders have the same name, which runs are told apart by; rename one of them"
  for encoder in ${opt[encoder]}; do
    if [ -d "$encoder" ]; then encoder=$(absolute "$encoder"); fi
    systems+=("encoder $encoder")
  done
elif [ "${opt[paper]}" = copypaste ]; then
  case ${opt[init]} in '') waiting=(--waiting) ;; random) ;; *) inits+=("${opt[init]}") ;; esac
else
  case ${opt[init]} in '' | random | imagenet) inits=("${opt[init]:-imagenet}") ;;
    *) die "--init of --paper noise-mixup is random or imagenet, not '${opt[init]}'" ;; esac
  systems=(spectrogram mfcc)
fi
status_py=$SER_ROOT/pyscripts/status.py report_py=$SER_ROOT/pyscripts/report.py

work_dir=$(absolute "${opt[work-dir]}")
grid=${work_dir:-$SER_ROOT/exp}/grid
mkdir -p "$grid" || die "--work-dir $work_dir: cannot make $grid"
[ -z "${opt[config]}" ] || config=$(config_file "${opt[config]}" "$grid")
settings() { # <paper>: print the options of its runs, a word a line
  if [ "$1" = emoaug ]; then
    [ -z "${opt[config]}" ] || printf '%s\n' --config "$config"
    [ -z "${opt[tag]}" ] || printf '%s\n' --tag "${opt[tag]}"
    return
  fi
  printf '%s\n' --config "${config:-$SER_ROOT/conf/$1.yaml}"
  if [ -n "${opt[tag]}" ] || [ -z "${opt[config]}" ]; then printf '%s\n' --tag "${opt[tag]:-paper}"; fi
}

# Per set of lists (a recipe, or <recipe>-<dataset>-<split>): its recipe, and the words after its run.sh that hold for all
# of its runs, quoted for eval.
sets=()
declare -A recipe_of words_of
add_set() { # <set> <recipe> <words…>
  sets+=("$1") recipe_of[$1]=$2
  words_of[$1]=$(printf '%q ' "${@:3}")
}
for corpus in "${args[@]}"; do
  # The folder ends where the first option begins; it may have blanks in it.
  folder=${corpus%% --*} more=()
  if [ "$folder" != "$corpus" ]; then
    split_words more "${corpus#"$folder "}"
  fi
  recipe=${folder%%=*}
  for word in "${more[@]}"; do
    case $word in --config* | --tag*) die "$recipe: ${word%%=*} is the grid's own option, for all of its runs" ;; esac
  done
  [ -f "$SER_ROOT/egs/$recipe/run.sh" ] || die "no recipe '$recipe'; there are: $(cd "$SER_ROOT/egs" && echo *)"
  [[ " ${recipe_of[*]:-} " != *" $recipe "* ]] || die "$recipe is named twice"
  words=(--nj "${opt[nj]}" --ngpu "${opt[ngpu]}" --train-threads "${opt[train-threads]}")
  [ "$folder" = "$recipe" ] || words+=(--corpus-dir "${folder#*=}")
  [ -z "${opt[musan-dir]}" ] || words+=(--musan-dir "${opt[musan-dir]}")
  if [ "${opt[paper]}" = emoaug ]; then
    [ -n "${opt[musan-dir]}" ] || words+=(--test-snr none)
    [ "$recipe" != iemocap ] || words+=(--merge-excited true)
  fi
  words+=("${more[@]}" --seeds "${opt[seeds]}" --work-dir "${work_dir:-$SER_ROOT/egs}/$recipe")
  if [ "${opt[paper]}" != noise-mixup ]; then add_set "$recipe" "$recipe" "${words[@]}"; continue; fi
  for split in segment speaker; do
    blocks=(--block 1 --split "$split" --noise-kinds noise --snr "40 20 15" --test-snr "40 20 15")
    if [ "$recipe" != iemocap ]; then add_set "$recipe-$split" "$recipe" "${words[@]}" "${blocks[@]}"; continue; fi
    for dataset in ahsn aesn; do
      add_set "iemocap-$dataset-$split" iemocap "${words[@]}" "${blocks[@]}" --scenario improvised --dataset "$dataset"
    done
  done
done
# trained_on <system>: print the training data of its runs.
trained_on() { [[ $1 = encoder\ * && $1 != "${systems[0]}" ]] && echo clean || echo "$train_data"; }

run_recipe() { # <set> <system> <training data> <more options…>
  local words of_system schemes
  eval "words=(${words_of[$1]})"
  if [[ $2 = encoder\ * ]]; then
    mapfile -t of_system < <(settings emoaug)
    schemes=none # what the paper compares CopyPaste with are copies, not both
    if [ "$3" = clean ] && [ "$2" = "${systems[0]}" ]; then schemes=${opt[scheme]:-none se-cp}; fi
    of_system+=(--system encoder --encoder "${2#encoder }" --encoder-mode "${opt[encoder-mode]}" --scheme "$schemes")
    [ -z "${opt[encoder-layer]}" ] || of_system+=(--encoder-layer "${opt[encoder-layer]}")
  elif [ "$2" = spectrogram ]; then
    mapfile -t of_system < <(settings noise-mixup)
    of_system+=(--system spectrogram --network "${opt[network]:-alexnet}" --scheme none)
    [ -z "${opt[weights]}" ] || of_system+=(--weights "${opt[weights]}")
  else
    mapfile -t of_system < <(settings copypaste)
    of_system+=(--cmn sliding) # the tables are those of sliding means, whatever a recipe's default is
    if [ "${opt[paper]}" = copypaste ]; then
      of_system+=(--scheme "${opt[scheme]:-none se-cp n-cp n+se-cp}")
    else
      of_system+=(--network resnet --scheme "${opt[scheme]:-n+se-cp}" --baseline false)
    fi
  fi
  guarded "$SER_ROOT/egs/${recipe_of[$1]}/run.sh" "${words[@]}" "${of_system[@]}" --train-data "$3" "${@:4}"
}

# All runs first, since that shows a wrong option before hours of features.
plans=()
for set in "${sets[@]}"; do
  plan=$grid/$set.jsonl
  for system in "${systems[@]}"; do
    for data in $(trained_on "$system"); do
      starts=("${inits[@]}")
      [ "${opt[paper]}-$system" != noise-mixup-mfcc ] || starts=(random)
      for init in "${starts[@]}"; do
        once=() # the baseline has no initialisation
        [ "$init" = "${starts[0]}" ] || once=(--baseline false)
        run_recipe "$set" "$system" "$data" --init "$init" "${once[@]}" --plan "$plan.part"
        cat "$plan.part"
      done
    done
  done > "$plan"
  rm -f "$plan.part"
  plans+=("$plan")
done

if [ "${opt[dry-run]}" = true ]; then
  exec "$status_py" --to-do "${waiting[@]}" "${plans[@]}"
fi

failed=()
if [ "${opt[stage]}" -le 2 ]; then
  last=$((opt[stop-stage] < 2 ? opt[stop-stage] : 2))
  for set in "${sets[@]}"; do
    for system in "${systems[@]}"; do
      for data in $(trained_on "$system"); do
        echo "$(date +%T) $set: lists and features of system $system, $data data"
        run_recipe "$set" "$system" "$data" --stage "${opt[stage]}" --stop-stage "$last" ||
          failed+=("$set: stages ${opt[stage]} to $last, see above")
      done
    done
  done
fi

if runs_stage 3; then
  ready=()
  for set in "${sets[@]}"; do
    [[ " ${failed[*]:-} " = *" $set: "* ]] || ready+=("$grid/$set.jsonl")
  done
  if [ ${#ready[@]} -gt 0 ]; then
    echo "$(date +%T) training and scores on ${opt[device]}"
    array=$grid/$(date +%Y%m%d-%H%M%S)
    mkdir -p "$array"
    "$status_py" --to-do --jobs "$array/jobs.jsonl" "${waiting[@]}" "${ready[@]}"
    if [ -s "$array/jobs.jsonl" ]; then
      echo "  logs: $array/run.<job>.log"
      # shellcheck disable=SC2086  # a runner comes with its options
      guarded ${opt[train-cmd]} JOB=1:"$(wc -l < "$array/jobs.jsonl")" "$array/run.JOB.log" \
        "$SER_ROOT/local/train_and_score.sh" "$array/jobs.jsonl" JOB || true
      "$status_py" --check "$array/jobs.jsonl" || failed+=("runs, see above")
    else
      rm -r "$array"
    fi
  fi
fi

if runs_stage 5; then
  echo "$(date +%T) tables"
  corpora=() all_folds=() of_sets=()
  for set in "${sets[@]}"; do
    folds=$(of_runs "$grid/$set.jsonl" fold | sed '/None/d' | sort -nu | xargs)
    out=$(of_runs "$grid/$set.jsonl" out | sed -n 1p) # exp/…, or exp_<lists>/…
    exp_dir=$(of_runs "$grid/$set.jsonl" work | sed -n 1p)/${out%%/*}
    if "$report_py" --exp-dir "$exp_dir" --recipe "$set" --seeds "${opt[seeds]}" ${folds:+--folds "$folds"}; then
      corpora+=("$set=$exp_dir")
      case ${opt[paper]} in
        emoaug) of_sets+=(--set "$set" "$exp_dir") ;;
        noise-mixup) of_sets+=(--set "${set%-*}" "${set##*-}" "$exp_dir") ;;
      esac
      [ -z "$folds" ] || all_folds+=("$set=$folds")
    else
      failed+=("$set: tables, see above; the overall tables are without it")
    fi
    echo
  done
  if [ ${#corpora[@]} -gt 0 ] && [ "${opt[paper]}" = copypaste ]; then
    "$report_py" --corpora "${corpora[@]}" --seeds "${opt[seeds]}" --out "$grid/results" \
      ${all_folds[@]+--folds "${all_folds[@]}"}
  elif [ ${#corpora[@]} -gt 0 ] && [ "${opt[paper]}" = emoaug ]; then
    # The names of runs begin with the model; the plan has the encoders' in their order.
    mapfile -t models < <(of_runs "${plans[0]}" out | sed 's|^[^/]*/||; s|_.*||' | awk '!seen[$0]++')
    of_encoders=()
    for number in "${!systems[@]}"; do of_encoders+=(--encoder "${models[number]}" "${systems[number]#encoder }"); done
    "$SER_ROOT/pyscripts/report_emoaug.py" "${of_sets[@]}" "${of_encoders[@]}" --seeds "${opt[seeds]}" --out "$grid/results"
  elif [ ${#corpora[@]} -gt 0 ]; then
    "$SER_ROOT/pyscripts/report_noise_mixup.py" "${of_sets[@]}" --seeds "${opt[seeds]}" --out "$grid/results"
  fi
fi

if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "$(date +%T) done in $SECONDS s"
