#!/usr/bin/env bash
# A noisy copy of a data directory: noise or music under every utterance, at one SNR or at one of several.
#
# Usage: steps/augment_data_dir.sh [options] <data> <noise-list> <out-data>
#  e.g.: steps/augment_data_dir.sh --snr 5 --suffix music-snr5 data/train data/musan/music_train.scp \
#          data/train_music_snr5
#        steps/augment_data_dir.sh --snr "10 5 0" --suffix noisy1 --seed 1 data/train \
#          "data/musan/noise_train.scp data/musan/music_train.scp" data/train_noisy1
#
# <out-data> gets the tables of <data> and utt2noise, lines `<utterance> <SNR in dB> <first sample> <noise file>`, from
# which steps/make_mfcc.sh mixes in memory. <noise-list> has lines `<noise id> <audio file>`, as local/prepare_musan.sh
# writes them. Of several lists (blank-separated, in the one argument) and several SNRs every utterance gets one of
# each, all equally likely. What it gets depends on its id, the SNRs, the lists (their names and their ids) and the
# seed, and on no other utterance. The SNR is that of the powers over the whole utterance; the mix has the power of the
# clean speech; a noise shorter than the utterance is looped. Digital silence is left without noise.
#
# Options
#   --snr "DB …"         10, 5, 0 …; several: drawn for each utterance (10)
#   --seed N             another seed draws other noise (0)
#   --suffix S           utterance ids get -S appended, speakers stay; needed when the copy is to be combined with
#                        <data>. Without it ids stay the same ("")
#   --own-vad true       leave out vad.scp, so that steps/compute_vad.sh can make one from the noisy features; by
#                        default the clean recordings' VAD is kept, where <data> has it (false)
#   --write-wav DIR      also write the mixes as 16-bit WAV, to listen to; those there already are kept ("")
#   --mfcc-config FILE   whose --sample-frequency --write-wav mixes at (conf/mfcc_8k.conf)
set -euo pipefail

snr=10
seed=0
suffix=
own_vad=false
write_wav=
mfcc_config=

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"

if [ $# -ne 3 ]; then
  echo "Usage: steps/augment_data_dir.sh [options] <data> <noise-list> <out-data> (--help explains)" >&2
  exit 1
fi

options=(--snr="$snr" --seed "$seed" --suffix="$suffix" --own-vad "$own_vad")
[ -z "$write_wav" ] || options+=(--write-wav "$write_wav")
[ -z "$mfcc_config" ] || options+=(--mfcc-config "$mfcc_config")
exec python3 "$SER_ROOT/pyscripts/augment_data_dir.py" "${options[@]}" -- "$@"
