#!/usr/bin/env bash
# System spectrogram: a network of photographs reads images of blocks of one second, which the task cuts.
#
# Usage: local/system_spectrogram.sh [options] features <data>…    make the images <data><suffix> of data directories
#        local/system_spectrogram.sh [options] name|suffix|raw     print what names of runs, of directories of images, and
#                                                                  of what they are made from have for these options
#        local/system_spectrogram.sh [options] block               print how long blocks are, in seconds
#        local/system_spectrogram.sh [options] plan                print nothing
#
# Images of other options than the default ones have other names, so that none makes another stale.
set -euo pipefail
# shellcheck source=local/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_options "$@" << 'END'
# System spectrogram
--spectrogram-config= FILE  what the images show (default: conf/spectrogram.conf)
--write-png= DIR            also write the images as PNG files, to look at: DIR/<data><suffix>/<block>.png
--
# Set by run.sh
--recipe-dir= DIR           not needed here
--work-dir=. DIR            folder that <data> counts from
--nj=4 N+                   parallel jobs
--cmd=run.py CMD            job runner
END
verb=${args[0]:-}

default=$SER_ROOT/conf/spectrogram.conf
config=$(absolute "${opt[spectrogram-config]:-$default}") png=$(absolute "${opt[write-png]}")
[ -f "$config" ] || die "--spectrogram-config ${opt[spectrogram-config]}: no such file"
variant=''
if ! cmp -s "$config" "$default"; then
  variant=$(basename "$config" .conf | tr -c 'A-Za-z0-9.\n' -)
  variant=-${variant#spectrogram-}
fi
suffix=_spec$variant

make_features() { # <data>…
  local data pairs=()
  for data in "$@"; do pairs+=("$data=$data$suffix"); done
  guarded make_spectrogram.sh --nj "${opt[nj]}" --cmd "${opt[cmd]}" --spectrogram-config "$config" \
    --also "${pairs[*]:1}" "$1" "$1$suffix"
  [ -z "$png" ] || for data in "$@"; do
    guarded python3 "$SER_ROOT/pyscripts/write_png.py" "$data$suffix" "$png/$(basename "$data$suffix")"
  done
}

case $verb in
  name) echo "spectrogram$variant" ;;
  suffix) echo "$suffix" ;;
  raw | plan) ;;
  block)
    PYTHONPATH=$SER_ROOT/pyscripts python3 -c 'import sys
from ser.base.errors import run_main
from ser.features.frontend import read_conf
from ser.features.spectrogram import SpectrogramOptions
run_main(lambda: print(f"{read_conf(sys.argv[1], SpectrogramOptions).block_length:g}"))' "$config"
    ;;
  features)
    cd "${opt[work-dir]}"
    make_features "${args[@]:1}"
    ;;
  *) die "expected features <data>…, name, suffix, raw, block or plan, not '$verb' (--help explains)" ;;
esac
