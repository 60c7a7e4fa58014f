#!/usr/bin/env bash
# Noisy copies of a data directory: noise or music under every utterance.
#
# Usage: steps/augment_data_dir.sh [options] <data> <noise-list> <out-data>
#  e.g.: steps/augment_data_dir.sh --each true --snr "10 5 0" data/train \
#          "data/noise/noise_train.scp data/noise/music_train.scp" data/train_noisy
#        steps/augment_data_dir.sh --snr 10 data/test data/noise/noise_test.scp data/test_snr10
#
# <out-data> gets the tables of <data>, utt2noise, lines `<utterance> <SNR in dB> <first sample> <noise file>`, from
# which steps/make_mfcc.sh mixes in memory, and Kaldi's utt2uniq, lines `<utterance> <utterance that it is a copy of>`.
# <noise-list> has lines `<noise id> <audio file>`, as local/prepare_musan.sh writes them; several are given in the one
# argument, separated by blanks. Every utterance gets one of the lists and one of the SNRs, all equally likely, or with
# --each true a copy for each list and SNR, all in <out-data>: <utt>-noise-snr10 of noise_train.scp at 10 dB.
#
# The noise depends on the utterance's id, the SNR, the list (its name and its ids) and the seed, and on no other
# utterance; the list and SNR that are drawn depend on the utterance's id, all lists and SNRs, and the seed. The SNR is
# that of the powers over the whole utterance; the mix has the power of the clean speech; a noise shorter than the
# utterance is looped. Digital silence is left without noise.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# shellcheck source=utils/parse_options.sh
. "$SER_ROOT/utils/parse_options.sh"
parse_options "$@" << 'END'
--snr=10 DBs             signal-to-noise ratio in dB, or several: '10 5 0'
--each=false BOOL        a copy of every utterance for each list and SNR, instead of one copy
--seed=0 N               another seed draws other noise
--suffix= S              utterance ids get -S appended, speakers stay; needed when the copy is to be
                         combined with <data>. Without it ids stay, except with --each true
--own-vad=false BOOL     leave out vad.scp, so that steps/compute_vad.sh makes one from the noisy features
                         (by default the clean recordings' VAD is kept, where <data> has it)
--write-wav= DIR         also write the mixes as 16-bit WAV, to listen to; those there already are kept
--mfcc-config= FILE      whose --sample-frequency --write-wav mixes at (default: conf/mfcc_8k.conf)
END

if [ ${#args[@]} -ne 3 ]; then usage >&2; exit 1; fi

options=(--snr="${opt[snr]}")
for name in each seed suffix own-vad write-wav mfcc-config; do
  [ -z "${opt[$name]}" ] || options+=("--$name=${opt[$name]}")
done
exec python3 "$SER_ROOT/pyscripts/augment_data_dir.py" "${options[@]}" -- "${args[@]}"
