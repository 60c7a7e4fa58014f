#!/usr/bin/env bash
# Check a GPU: what it computes against the CPU, a training interrupted and resumed, its speed, the memory it takes.
#
# Usage: tests/gpu.sh [options]
#  e.g.: tests/gpu.sh
#        tests/gpu.sh --device cpu --quick true      the same on a CPU, in about a minute, where there is no GPU
#
# Takes the active python3 as it is and installs nothing: it needs torch 2.11 or later with CUDA, and numpy, PyYAML, tqdm,
# kaldiio, tensorboard and matplotlib (and transformers, for an encoder that is fine-tuned); neither torchaudio, a corpus
# nor a network. Data are random features as long as RAVDESS's, random images and waveforms, made on the spot. Under eight minutes on one H100. Prints a table (what, CPU, GPU,
# difference or ratio, limit, ok?) and exits 1 if a line fails. Speeds are reported beside their targets and fail nothing.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=utils/parse_options.sh
. "$root/utils/parse_options.sh"
parse_options "$@" << 'END'
--device=cuda cpu|cuda      what is checked; cpu: the CPU against itself
--quick=false BOOL          tiny sizes, whose speeds mean nothing
--parts='against_cpu interruption norm step speed' PARTS  which
END
[ ${#args[@]} -eq 0 ] || die "unexpected ${args[0]} (--help explains)"
command -v python3 > /dev/null || die "no python3 on PATH"
if [ "${opt[quick]}" = true ]; then export OMP_NUM_THREADS=1; fi # sizes so small are not worth sharing
export PYTHONPATH=$root/pyscripts:$root/tests/benchmarks${PYTHONPATH:+:$PYTHONPATH} LC_ALL=C
exec python3 "$root/tests/gpu/check.py" --device "${opt[device]}" --quick "${opt[quick]}" --parts "${opt[parts]}"
