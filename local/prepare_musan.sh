#!/usr/bin/env bash
# Lists of noise and music files for training and for testing, out of a MUSAN tree (https://www.openslr.org/17).
#
# Usage: local/prepare_musan.sh [options] <musan-dir> <out-dir>
#  e.g.: local/prepare_musan.sh /corpora/musan data/musan
#
# <musan-dir> holds noise/{free-sound,sound-bible} and music/{fma,fma-western-art,hd-classical,jamendo,rfm}; any other
# sub-folders with audio will do as well, speech/ is not used. Leaves noise_train.scp, noise_test.scp, music_train.scp
# and music_test.scp in <out-dir>, lines `<name> <absolute path>`: no file is in two of them, and each list gets long
# and short files of every source.
#
# Options
#   --seed N           which split (0)
#   --test-share R     share of the files, and of their duration, kept for the noisy tests (0.2)
#   --download false   do not fetch MUSAN when <musan-dir> does not exist. By default its archive (11 GB) is fetched,
#                      verified, kept beside <musan-dir> as musan.tar.gz and unpacked to <musan-dir> (11 GB more); an
#                      interrupted download goes on where it stopped (true)
set -euo pipefail

seed=0
test_share=0.2
download=true

. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
. "$SER_ROOT/utils/old_parse_options.sh"

if [ $# -ne 2 ]; then
  echo "Usage: local/prepare_musan.sh [options] <musan-dir> <out-dir> (--help explains)" >&2
  exit 1
fi

exec python3 "$SER_ROOT/pyscripts/prepare_musan.py" --seed "$seed" --test-share "$test_share" --download "$download" \
  -- "$1" "$2"
