#!/usr/bin/env bash
# One's own corpus: a CSV or TSV file with a path and an emotion in each row; see egs/table/README.md.
#
# Usage: egs/table/run.sh --corpus-dir TABLE [options]    (--help lists them)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The driver calls this script with the options that a --config stands for. Facts of a table lie in the table.
[ "${SER_RECIPE:-}" = table ] || exec "$here/../../run.sh" --recipe table "$@"
# shellcheck source=path.sh
. "$here/../../path.sh"
words=$("$here/local/prepare.py" --facts "$@")
mapfile -t facts <<< "$words"
# Trains some six times as fast as the ResNet on a CPU, and learns more from few hours of speech (egs/ravdess/RESULTS.md).
[[ " $*" = *" --system"* || " $*" = *" --task"* ]] || facts+=(--network tdnn)
exec "$here/../../run.sh" --recipe table --task emotion "${facts[@]}" -- "$@"
