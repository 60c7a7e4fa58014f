# shellcheck shell=bash
# Option parsing of the shell scripts here. A script sources this and states its options once, as a list from which its
# checks, its defaults and its --help come:
#
#     parse_options "$@" << 'END'
#     --nj=4 N+                      number of jobs
#     --snr='10 5 0' DBs             signal-to-noise ratios, of which
#                                    each recording gets one
#     --write-wav=false BOOL         also write the mixes
#     END
#
# A line is `--name=default VALUE description`, the default in single quotes where it has blanks; lines that begin with
# a blank go on describing. `# Title` begins a group. VALUE says what is taken: BOOL true or false, N a whole number
# from 0, N+ one from 1, a|b|c one of these, anything else any text; an empty default may stay empty. A line `--*` allows
# options that are not listed.
#
# Afterwards ${opt[snr]} is an option's value, ${opt_default[snr]} its default, "${args[@]}" is what follows the options
# (they end at the first word that is none, or at `--`), and "${others[@]}" are the options that are not listed, each with
# its value.
#
# A script that hands options on to this one asks for their names with --list-options and for their help alone with
# --help-options. Both leave out the options after a line `--`, which that script sets itself.

declare -A opt=()
declare -a args=() others=()
# Of the list: what each option takes, its default, the names and the help before the line `--`, and all help.
declare -A _po_takes=() opt_default=()
declare -a _po_names=()
_po_options='' _po_help='' _po_any=false _po_own=true

die() { echo "$(basename "$0"): error: $*" >&2; exit 1; }

# usage: print the header comment of the script that runs, then its options, then what its function more_usage prints.
usage() {
  awk 'NR == 1 && /^#!/ { next } /^# shellcheck / { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"
  [ -z "$_po_help" ] || printf '\nOptions\n%s' "$_po_help"
  if declare -F more_usage > /dev/null; then more_usage; fi
}

parse_options() {
  local name value
  others=() _po_names=() _po_options='' _po_help='' _po_any=false _po_own=true
  _po_read_list
  while [ $# -gt 0 ]; do
    case $1 in
      --help | -h) usage; exit 0 ;;
      --list-options) printf '%s\n' "${_po_names[@]}"; exit 0 ;;
      --help-options) printf '%s' "$_po_options"; exit 0 ;;
      --) shift; break ;;
      --*=*) name=${1%%=*} value=${1#*=}; shift ;;
      --*)
        name=$1
        _po_is_listed "$name" || [ "$_po_any" = true ] || _po_die "unknown option $name"
        [ $# -gt 1 ] || _po_die "$name needs a value"
        if _po_is_listed "$2"; then _po_die "$name needs a value, not the option $2"; fi
        value=$2
        shift 2
        ;;
      -[a-zA-Z]*) _po_die "unknown option $1" ;;
      *) break ;;
    esac
    if _po_is_listed "$name"; then
      opt[${name#--}]=$value
    elif [ "$_po_any" = true ]; then
      others+=("$name" "$value")
    else
      _po_die "unknown option $name"
    fi
  done
  # shellcheck disable=SC2034 # the caller reads them
  args=("$@")
  for name in "${!_po_takes[@]}"; do
    [ -z "${opt[$name]}${opt_default[$name]}" ] || _po_check "$name" "${opt[$name]}"
  done
}

_po_die() { echo "$(basename "$0"): error: $* (--help lists the options)" >&2; exit 1; }

# _po_is_listed <word>: whether a word is an option of the list. Only a plain name may become a subscript.
_po_is_listed() { [[ $1 =~ ^--[a-z0-9-]+$ && -v _po_takes[${1#--}] ]]; }

# _po_read_list: read the list of options from standard input.
_po_read_list() {
  local line name default takes text form="^--([a-z0-9-]+)=('[^']*'|[^ ']*) +([^ ]+) +(.*)$"
  while IFS= read -r line; do
    if [[ $line =~ $form ]]; then
      name=${BASH_REMATCH[1]} default=${BASH_REMATCH[2]#\'} takes=${BASH_REMATCH[3]} text=${BASH_REMATCH[4]}
      default=${default%\'}
      _po_takes[$name]=$takes opt_default[$name]=$default opt[$name]=$default
      [ "$_po_own" = false ] || _po_names+=("$name")
      [ -z "$default" ] || text+=" (default: $default)"
      [ "$takes" != BOOL ] || takes='true|false'
      printf -v line '  %-26s %s' "--$name ${takes%+}" "$text"
    elif [ "$line" = '--*' ]; then
      _po_any=true
      continue
    elif [ "$line" = -- ]; then
      _po_own=false
      continue
    elif [[ $line = --* ]]; then
      die "cannot read this line of the options: $line"
    elif [[ $line = '# '* ]]; then
      line="${line#\# }"
    else
      printf -v line '  %-26s %s' '' "${line#"${line%%[! ]*}"}"
    fi
    _po_help+=$line$'\n'
    [ "$_po_own" = false ] || _po_options+=$line$'\n'
  done
}

_po_check() { # <name> <value>
  local takes=${_po_takes[$1]}
  case $takes in
    BOOL) [[ $2 = true || $2 = false ]] || _po_die "--$1 takes true or false, not '$2'" ;;
    N) [[ $2 =~ ^(0|[1-9][0-9]*)$ ]] || _po_die "--$1 takes a whole number from 0, not '$2'" ;;
    N+) [[ $2 =~ ^[1-9][0-9]*$ ]] || _po_die "--$1 takes a whole number from 1, not '$2'" ;;
    *'|'*) [[ $2 != *'|'* && "|$takes|" = *"|$2|"* ]] || _po_die "--$1 is one of ${takes//|/, }, not '$2'" ;;
  esac
}
