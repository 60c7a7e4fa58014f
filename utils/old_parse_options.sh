# shellcheck shell=bash
# Option parsing shared by the shell scripts here; source it after giving every option its default:
#
#     nj=4
#     write_wav=false
#     . "$SER_ROOT/utils/old_parse_options.sh"
#
# `--write-wav true` or `--write-wav=true` then sets write_wav. Options end at the first argument that is none, or
# at `--`; what follows stays in "$@". An option whose default is true or false takes nothing else. `--help` prints
# the header comment of the script, and of the script that sources it if that is another one. `--config FILE` reads
# lines `name=value` or `--name=value` (quotes and # comments allowed, nothing expanded), which the command line
# overrides; a script with a variable `config` of its own keeps that meaning instead.

# Which variables are options is read from the text of the calling scripts, up to the line where each hands over: a
# variable that merely exists, out of the environment, is then never taken for one, and an option which the
# environment happens to export is still one. Bash itself cannot tell: an assignment to a variable that came
# from the environment leaves it exported.
_po_list_options() {
  local _po_i
  for ((_po_i = ${#BASH_SOURCE[@]} - 1; _po_i >= 3; _po_i--)); do
    if [[ ! -f ${BASH_SOURCE[_po_i]} ]]; then
      [[ ${BASH_SOURCE[_po_i]} == */* ]] || continue # `bash -c`, an interactive shell: no text to read
      echo "parse_options.sh: cannot find ${BASH_SOURCE[_po_i]}; a script must source this before any cd" >&2
      exit 1
    fi
    awk -v last="${BASH_LINENO[_po_i - 1]}" '
      NR > last { exit }
      /^[ \t]*#/ { next }
      {
        count = split($0, piece, ";")
        for (i = 1; i <= count; i++)
          if (match(piece[i], /^[ \t]*[a-z][a-z0-9_]*=/)) {
            name = substr(piece[i], 1, RLENGTH - 1)
            sub(/^[ \t]*/, "", name)
            print name
          }
      }' "${BASH_SOURCE[_po_i]}"
  done
}

_po_usage() {
  local _po_i _po_seen=:
  for ((_po_i = ${#BASH_SOURCE[@]} - 1; _po_i >= 2; _po_i--)); do
    local _po_file=${BASH_SOURCE[_po_i]}
    [[ -f $_po_file && ! $_po_file -ef ${BASH_SOURCE[0]} && $_po_seen != *":$_po_file:"* ]] || continue
    [[ $_po_seen == : ]] || echo
    _po_seen+="$_po_file:"
    awk 'NR == 1 && /^#!/ { next }
         /^# shellcheck / { next }
         !/^#/ { exit }
         { sub(/^# ?/, ""); print }' "$_po_file"
  done
}

_po_die() {
  _po_usage >&2
  echo >&2
  echo "$(basename "$0"): error: $*" >&2
  exit 1
}

# _po_set <where it was found> <option name without dashes> <value>
_po_set() {
  local _po_name=${2//-/_}
  [[ $2 =~ ^[a-z][a-z0-9-]*$ && $_po_options == *$'\n'"$_po_name"$'\n'* && -v $_po_name ]] ||
    _po_die "$1unknown option --$2"
  # The default decides, not what an earlier occurrence of the option made of it: both are true or false.
  if [[ ${!_po_name} == true || ${!_po_name} == false ]] && [[ $3 != true && $3 != false ]]; then
    _po_die "$1--$2 takes true or false, not '$3'"
  fi
  printf -v "$_po_name" '%s' "$3"
}

_po_read_config() {
  [[ -r $1 && ! -d $1 ]] || _po_die "--config $1: no such file"
  local _po_line _po_number=0 _po_value _po_form='^(--)?([a-z][a-z0-9_-]*)=(.*)$'
  while IFS= read -r _po_line || [[ -n $_po_line ]]; do
    _po_number=$((_po_number + 1))
    _po_line=${_po_line%$'\r'}
    _po_line=${_po_line#"${_po_line%%[![:space:]]*}"}
    [[ -z $_po_line || $_po_line == \#* ]] && continue
    [[ $_po_line =~ $_po_form ]] || _po_die "$1:$_po_number: expected name=value, found '$_po_line'"
    local _po_option=${BASH_REMATCH[2]//_/-}
    _po_value=${BASH_REMATCH[3]}
    if [[ $_po_value =~ ^\"([^\"]*)\"[[:space:]]*(#.*)?$ || $_po_value =~ ^\'([^\']*)\'[[:space:]]*(#.*)?$ ]]; then
      _po_value=${BASH_REMATCH[1]}
    else
      _po_value=${_po_value%%[[:space:]]#*}
      _po_value=${_po_value%"${_po_value##*[![:space:]]}"}
      [[ $_po_value != *[\"\']* ]] || _po_die "$1:$_po_number: unbalanced quotes"
    fi
    [[ $_po_value != *[\$\`]* ]] || _po_die "$1:$_po_number: nothing is expanded here; write the value itself"
    _po_set "$1:$_po_number: " "$_po_option" "$_po_value"
  done <"$1"
}

# Sets the options and leaves the number of arguments that they took in _po_taken.
_po_parse() {
  local _po_options _po_option _po_value _po_i _po_given=() _po_configs=()
  _po_options=$(_po_list_options) || exit 1
  _po_options=$'\n'$_po_options$'\n'
  _po_taken=0
  while (($# > 0)); do
    case $1 in
      --help | -h) _po_usage; exit 0 ;;
      --) _po_taken=$((_po_taken + 1)); break ;;
      --*=*) _po_option=${1%%=*} _po_value=${1#*=}; _po_taken=$((_po_taken + 1)); shift ;;
      --*)
        _po_option=$1
        if (($# < 2)); then
          [[ $_po_options == *$'\n'"$(tr - _ <<<"${1#--}")"$'\n'* || $1 == --config ]] ||
            _po_die "unknown option $1"
          _po_die "$1 needs a value"
        fi
        _po_value=$2
        if [[ $2 =~ ^--[a-z][a-z0-9-]*$ && $_po_options == *$'\n'"$(tr - _ <<<"${2#--}")"$'\n'* ]]; then
          _po_die "$1 needs a value, not the option $2"
        fi
        _po_taken=$((_po_taken + 2))
        shift 2
        ;;
      -[a-zA-Z]*) _po_die "unknown option $1" ;;
      *) break ;;
    esac
    if [[ $_po_option == --config && $_po_options != *$'\nconfig\n'* ]]; then
      _po_configs+=("$_po_value")
    else
      _po_given+=("${_po_option#--}" "$_po_value")
    fi
  done
  for ((_po_i = 0; _po_i < ${#_po_configs[@]}; _po_i++)); do
    _po_read_config "${_po_configs[_po_i]}"
  done
  for ((_po_i = 0; _po_i < ${#_po_given[@]}; _po_i += 2)); do
    _po_set "" "${_po_given[_po_i]}" "${_po_given[_po_i + 1]}"
  done
}

_po_parse "$@"
shift "$_po_taken"
unset _po_taken
unset -f _po_list_options _po_usage _po_die _po_set _po_read_config _po_parse
