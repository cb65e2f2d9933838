# shellcheck shell=bash
# What the launchers and the job on a machine share: flags, and showing commands.
#
# A script sets OWN_FLAGS and OWN_SWITCHES (names of flags with a value and
# without), and TAKES_MORE if flags may stand behind --, which are in EXTRA then.

if ((BASH_VERSINFO[0] < 4 || (BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] < 4)))
then
  echo "The launchers need bash 4.4 or newer; this is $BASH_VERSION." >&2
  exit 2
fi

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ROWS_OF_TABLE_3=none,redial,redial_sequence,redial_tags,redial_review,all

VERB='' ROW='' EXTRA=() GIN=() GIVEN=()
OUT='' ENGINE=t5cr RECIPE=paper CORPUS=published ROWS='' VOCABULARY=''
PYTHON='' NAME=t5cr RESTARTS=10
DRY_RUN=false
FLAGS="out engine recipe corpus rows vocabulary python name restarts"

fail() {
  echo "${0##*/}: $*" >&2
  exit 2
}

say() {
  echo "# $*"
}

# Prints a command so that it can be read, and run by any shell: that of SLURM's
# scripts is not bash.
quoted() {
  local word line=''
  for word; do
    case $word in
      '' | *[!A-Za-z0-9@%+=:,./_~{}-]* | *\{*[,.]*)
        if [[ $word == *\'* && $word != *[\"\$\`\\!]* ]]; then
          word="\"$word\""
        else
          word="'${word//\'/\'\\\'\'}'"
        fi
        ;;
    esac
    line+="$word "
  done
  echo "${line% }"
}

# Shows a command and runs it; with --dry-run only shows it.
run() {
  if [[ $DRY_RUN == true ]]; then
    quoted "$@"
  else
    echo "+ $(quoted "$@")" >&2
    "$@"
  fi
}

set_flag() {
  local name=${1#--}
  [[ " $FLAGS ${OWN_FLAGS-} " == *" $name "* ]] ||
    fail "unknown flag $1. ${0##*/} --help lists them."
  [[ -n $2 ]] || fail "$1 wants a value."
  [[ $2 != *[[:cntrl:]]* ]] || fail "$1: ${2@Q} holds a control character."
  name=${name^^}
  printf -v "${name//-/_}" %s "$2"
}

is_switch() {
  [[ " dry-run keep ${OWN_SWITCHES-} " == *" ${1#--} "* ]]
}

parse() {
  local name words=()
  while (($#)); do
    case $1 in
      -h | --help)
        sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
      --gin.*=* | --gin_bindings=*)
        [[ $1 != *[[:cntrl:]]* ]] || fail "${1@Q} holds a control character."
        GIN+=("$1")
        ;;
      --)
        EXTRA=("${@:2}")
        break
        ;;
      --*=*) set_flag "${1%%=*}" "${1#*=}" ;;
      --*)
        if is_switch "$1"; then
          name=${1#--} name=${name^^}
          printf -v "${name//-/_}" %s true
        else
          set_flag "$1" "${2-}"
          shift
        fi
        ;;
      *) words+=("$1") ;;
    esac
    shift
  done
  VERB=${words[0]-} ROW=${words[1]-}
  ((${#words[@]} <= 2)) || fail "too many words: ${words[*]:2}."
}

# Ends with a message if a program is missing that will be run.
need() {
  local program
  [[ $DRY_RUN == false ]] || return 0
  for program; do
    command -v "$program" >/dev/null ||
      fail "$program is not installed here; see docs/launch.md."
  done
}

# A path as gin writes text.
gin_string() {
  local text=${1//\\/\\\\}
  echo "'${text//\'/\\\'}'"
}

# A path that means the same in another folder, and on gs:// as it is.
absolute() {
  case $1 in
    *://* | /*) echo "$1" ;;
    *) echo "$PWD/$1" ;;
  esac
}

# A local folder for what is not read or written on gs:// directly.
near() {
  if [[ $OUT == *://* ]]; then
    echo "build/launch/${OUT//[^A-Za-z0-9._-]/=}"
  else
    echo "$OUT"
  fi
}

one_of() { # what, value, choices
  [[ ",$3," == *",$2,"* ]] || fail "$1 '$2' is none of ${3//,/, }."
}

check_common() {
  local row
  one_of command "$VERB" "${VERBS:-data,train,eval,score,report,study}"
  case $VERB in
    train | eval | score) one_of row "$ROW" "$ROWS_OF_TABLE_3" ;;
    *) [[ -z $ROW ]] || fail "$VERB takes no row." ;;
  esac
  if ((${#EXTRA[@]})) && [[ ${TAKES_MORE-} != true ]]; then
    fail "nothing may stand behind --: ${EXTRA[*]}"
  fi
  one_of --engine "$ENGINE" t5cr,t5x
  [[ -f $ROOT/gin/recipe/$RECIPE.gin ]] ||
    fail "--recipe '$RECIPE' is no file of gin/recipe."
  [[ -n $OUT ]] || fail "--out DIR is missing: where data and runs are kept."
  OUT=$(absolute "${OUT%/}")
  [[ -z $VOCABULARY ]] || VOCABULARY=$(absolute "$VOCABULARY")
  case $CORPUS in
    published | sample) ;;
    *) CORPUS=$(absolute "$CORPUS") ;;
  esac
  if [[ -z $ROWS ]]; then
    # What `t5cr data fetch` gets has no reviews.
    ROWS=$ROWS_OF_TABLE_3
    [[ $CORPUS != published ]] || ROWS=none,redial,redial_sequence,redial_tags
  fi
  for row in ${ROWS//,/ }; do one_of --rows "$row" "$ROWS_OF_TABLE_3"; done
  if [[ $CORPUS == sample && -z $VOCABULARY ]]; then
    VOCABULARY=$OUT/vocabulary/sentencepiece.model
  fi
  [[ $RESTARTS =~ ^[0-9]+$ ]] || fail "--restarts '$RESTARTS' is no number."
  [[ $NAME =~ ^[a-z][a-z0-9-]{0,19}$ ]] ||
    fail "--name '$NAME': lower-case letters, digits and dashes, at most 20."
  # t5x trains nothing for no steps: its row `none` is the initial checkpoint.
  if [[ $ENGINE == t5x && $ROW == none ]] ||
    [[ $ENGINE == t5x && $VERB == study && ,$ROWS, == *,none,* ]]; then
    [[ $VERB != train ]] ||
      fail "t5x cannot train row none: evaluate it with 'eval none'."
    grep -q '^INITIAL_CHECKPOINT_PATH' "$ROOT/gin/recipe/$RECIPE.gin" ||
      fail "recipe $RECIPE starts from noise: there is no row none under t5x." \
        "Name other --rows."
  fi
  # The flags that the job on the machines is given.
  GIVEN=(--out "$OUT" --engine "$ENGINE" --recipe "$RECIPE"
    --corpus "$CORPUS" --rows "$ROWS")
  [[ -z $VOCABULARY ]] || GIVEN+=(--vocabulary "$VOCABULARY")
  [[ -z $PYTHON ]] || GIVEN+=(--python "$PYTHON")
  GIVEN+=("${GIN[@]}")
}
