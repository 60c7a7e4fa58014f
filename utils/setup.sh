# shellcheck shell=bash
# Find or make a Python that has the requirements, and put it first on PATH. Sourced by path.sh, silent when all is well.
#
# The active python3 is used when it already has what requirements.txt asks for, with any torch and torchaudio from 2.11
# on that import together; nothing in it is changed. Otherwise .venv in the project's root is used, made first if it is not
# there; an installation that was interrupted is taken up where it stopped.
# With SER_DEV=1 in the environment requirements-dev.txt (tests, linters) counts as required too, and with
# SER_SYNTHESIS=1 requirements-synthesis.txt (SpeechBrain, for EmoAug's pretrained networks, and WORLD).
# Nothing outside .venv is ever changed but .env-checked, which remembers environments that have what is needed.

ser_setup() {
  local root=$SER_ROOT venv=$SER_ROOT/.venv candidate python='' key
  local -a requirements=("$root/requirements.txt")
  if [ "${SER_DEV:-0}" = 1 ]; then requirements+=("$root/requirements-dev.txt"); fi
  if [ "${SER_SYNTHESIS:-0}" = 1 ]; then requirements+=("$root/requirements-synthesis.txt"); fi
  # A parent script has checked already: jobs must not pay for it again.
  if [ "${SER_CHECKED:-}" = "$root ${SER_DEV:-0} ${SER_SYNTHESIS:-0}" ]; then return 0; fi

  for candidate in python3 "$venv/bin/python"; do
    if ! key=$("$candidate" "$root/utils/check_env.py" --print-key "${requirements[@]}" 2>/dev/null); then continue; fi
    # Importing torch takes seconds, so an environment seen to work is remembered by its versions.
    if grep -qsx "$key" "$root/.env-checked" ||
       { "$candidate" "$root/utils/check_env.py" --import "${requirements[@]}" 2>/dev/null &&
         echo "$key" >> "$root/.env-checked"; }; then
      python=$candidate
      break
    fi
  done

  if [ -z "$python" ]; then
    # An environment that somebody has activated is left as it is; why it does not serve is said.
    if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || python3 -c 'import torch' 2>/dev/null; then
      echo "setup: the active Python is not used: $(python3 "$root/utils/check_env.py" --import "${requirements[@]}" 2>&1)" >&2
    fi
    ser_make_venv "${requirements[@]}" || return 1
    python=$venv/bin/python
  fi
  case $python in
    "$venv"/*) export VIRTUAL_ENV=$venv PATH="$venv/bin:$PATH" ;;
  esac
  export SER_CHECKED="$root ${SER_DEV:-0} ${SER_SYNTHESIS:-0}"
}

# ser_make_venv REQUIREMENTS…: make or complete .venv.
ser_make_venv() {
  local venv=$SER_ROOT/.venv base='' candidate file
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      base=$candidate
      break
    fi
  done
  if [ -z "$base" ]; then
    echo "setup: error: no Python 3.11 or later with the venv module on PATH (Debian, Ubuntu: apt install python3-venv)" >&2
    return 1
  fi
  echo "setup: no environment with the requirements is active; making $venv (about a minute; once)" >&2
  local -a install=()
  for file in "$@"; do install+=(-r "$file"); done
  # CPU builds of torch carry a local version, which pip takes as satisfying the pin.
  if ! { [ -x "$venv/bin/python" ] || "$base" -m venv "$venv"; } ||
     ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${install[@]}" >&2; then
    echo "setup: error: could not install the requirements into $venv (no network? no space?); run the command again," \
      "or activate an environment that has them (requirements.txt)" >&2
    return 1
  fi
  # torchaudio's wheel is built for CUDA; beside a CPU torch its compiled extensions cannot load, and its own loader
  # then works in pure PyTorch if they are not there.
  if "$venv/bin/python" - <<'PYTHON'
import importlib.util, pathlib, sys, torch
try:
    import torchaudio
except (ImportError, OSError):
    if torch.version.cuda:
        raise
    package = pathlib.Path(importlib.util.find_spec("torchaudio").origin).parent
    for library in (package / "lib").glob("*.so"):
        library.unlink()
PYTHON
  then :; else
    echo "setup: error: torchaudio does not import in $venv; remove that folder and run the command again" >&2
    return 1
  fi
  "$venv/bin/python" "$SER_ROOT/utils/check_env.py" --import "$@" || return 1
  "$venv/bin/python" "$SER_ROOT/utils/check_env.py" --print-key "$@" >> "$SER_ROOT/.env-checked"
  echo "setup: done" >&2
}

ser_setup || return 1
unset -f ser_setup ser_make_venv
