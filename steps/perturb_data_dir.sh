#!/usr/bin/env bash
# Copies of a data directory at other speeds or pitches, or of other vocal tracts.
#
# Usage: steps/perturb_data_dir.sh [options] --kind speed|pitch|vtlp <data> <out-data>
#  e.g.: steps/perturb_data_dir.sh --kind speed --factors "0.9 1.1" data/train data/train_speed
#
# <out-data> gets the tables of <data> but those made of its audio, utt2perturb, lines `<utterance> <kind> <number>`, by
# which the steps that read audio change it in memory, and Kaldi's utt2uniq, lines `<utterance> <utterance that it is a
# copy of>`. Speakers and labels stay.
#   speed  each factor makes a copy of every utterance, <utt>-sp0.9, as sox's speed does: slower and lower
#   pitch  every utterance, as <utt>-pitch, is moved by one of the numbers of semitones, its length kept to the sample
#   vtlp   the frequency axis of every utterance, as <utt>-vtlp, is warped by a factor (Jaitly and Hinton 2013)
# What is drawn depends on the utterance's id, the kind, the factors and the seed. What is up to date is not made again.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# shellcheck source=utils/parse_options.sh
. "$SER_ROOT/utils/parse_options.sh"
parse_options "$@" << 'END'
--kind= speed|pitch|vtlp  what is changed
--factors= NUMBERS       factors, or semitones; a range LOW:HIGH, of which a number is drawn, for pitch and vtlp
                         (default: speed '0.9 1.1', pitch '-2 2', vtlp 0.9:1.1)
--seed=0 N               another seed draws others
END

if [ ${#args[@]} -ne 2 ] || [ -z "${opt[kind]}" ]; then usage >&2; exit 1; fi

exec python3 "$SER_ROOT/pyscripts/perturb_data_dir.py" --kind "${opt[kind]}" --factors="${opt[factors]}" \
  --seed "${opt[seed]}" -- "${args[@]}"
