#!/usr/bin/env bash
# System functionals, the baseline: a support vector machine reads functionals of the features that system mfcc makes.
#
# Usage: as of local/system_mfcc.sh, which does everything but name the runs
set -euo pipefail
mfcc=$(dirname "${BASH_SOURCE[0]}")/system_mfcc.sh
[ "${!#}" = name ] || exec "$mfcc" "$@"
name=$("$mfcc" "$@")
echo "functionals${name#mfcc}"
