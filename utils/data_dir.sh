#!/usr/bin/env bash
# Check, mend, cut and join data directories. The tools with Kaldi's names are links to this script, and run
# pyscripts/data_dir.py with the first word of their own name; each explains itself with --help.
#
# Usage: utils/validate_data_dir.sh, fix_data_dir.sh, subset_data_dir.sh, combine_data.sh, split_data_dir.sh,
#        subsegment_data_dir.sh … <data> …
#        utils/data_dir.sh <command> …    any command of data_dir.py
set -euo pipefail
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
name=$(basename "$0")
[ "$name" = data_dir.sh ] || set -- "${name%%_*}" "$@"
exec python3 "$SER_ROOT/pyscripts/data_dir.py" "$@"
