#!/usr/bin/env bash
# What runs on a machine, whoever launched it:
#
#   job.sh install --engine ENGINE --accelerator cpu|gpu|tpu
#   job.sh data|train ROW|eval ROW|score ROW|report --out DIR FLAGS
#
# --out DIR           data, runs and the report: a folder, or gs://BUCKET/DIR
# --engine ENGINE     t5cr, the engine of this project, or t5x
# --recipe NAME       gin/recipe/NAME.gin
# --corpus CORPUS     published, sample, or a folder of raw files
# --rows A,B          of the report
# --vocabulary FILE   a SentencePiece model instead of T5's public one
# --gin.MACRO=VALUE   as of t5cr and t5x
# --python FILE       of an environment that has everything; installs nothing
# --multiprocess      one process of several
# --dry-run           prints the commands

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# main of 2026-04-21, what docs/t5x.md was run with; the two others are what it
# imports, at their newest then.
T5X=git+https://github.com/google-research/t5x@cc342d419ec3e3e9c4bf1df33c82330cafdc1e16
AIRIO=git+https://github.com/google/airio@69897df7d9a427b947a9f7bb4164c7782b43e601
JESTIMATOR=git+https://github.com/google-research/jestimator@326824a477feef6d92e6f44175000907a72899ca
UV=0.13.9 # brings a Python where the system's is too old

OWN_FLAGS="accelerator" OWN_SWITCHES="multiprocess"
ACCELERATOR=cpu MULTIPROCESS=false VERBS=install,data,train,eval,score,report

# Debian's python3 may lack ensurepip; the Makefile looks for the same.
has_python() {
  local python
  for python in python3.12 python3.11 python3; do
    "$python" -c 'import ensurepip, sys, venv
sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && return
  done
  return 1
}

install() {
  local installer=${TMPDIR:-/tmp}/uv-install.sh
  local pip=(.venv/bin/python -m pip --disable-pip-version-check install --quiet)
  if [[ -n $PYTHON ]]; then
    say "nothing to install: $PYTHON"
    return
  fi
  PATH=$HOME/.local/bin:$PATH
  [[ $DRY_RUN == false ]] || say "where make is missing:"
  if [[ $DRY_RUN == true ]] || ! command -v make >/dev/null; then
    run sudo apt-get update
    run sudo apt-get install --yes make
  fi
  [[ $DRY_RUN == false ]] || say "where Python 3.11 and 3.12 are missing:"
  if [[ $DRY_RUN == true ]] || ! has_python; then
    run curl --fail --location --silent --show-error --output "$installer" \
      "https://astral.sh/uv/$UV/install.sh"
    run sh "$installer"
    run uv python install 3.11
  fi
  [[ $DRY_RUN == false ]] || say "everywhere:"
  run make setup
  if [[ $ACCELERATOR != cpu ]]; then
    run "${pip[@]}" --no-build-isolation --editable ".[$ACCELERATOR]"
  fi
  if [[ $ENGINE == t5x ]]; then
    run "${pip[@]}" --no-deps "$T5X" "$AIRIO" "$JESTIMATOR"
    run "${pip[@]}" fiddle==0.3.1 cached-property==2.0.1 grain==0.2.18
  fi
}

t5cr() {
  run "$PYTHON" -m t5cr.cli "$@"
}

transfer() {
  run "$PYTHON" launch/transfer.py "$@"
}

data() {
  local near raw status=0
  near=$(near) raw=$CORPUS
  if [[ $OUT == *://* ]]; then
    # Nothing to do where another launch has built it, of this corpus:
    transfer --is-whole "$OUT/data" "$CORPUS" || status=$?
    if ((status != 1)) && [[ $DRY_RUN == false ]]; then return "$status"; fi
  fi
  case $CORPUS in
    published)
      raw=$near/raw/published
      t5cr data fetch --raw "$raw"
      ;;
    sample)
      raw=$near/raw/sample
      if [[ ! -e $raw ]]; then
        run rm -rf "$raw.new"
        t5cr data sample --raw "$raw.new"
        run mv "$raw.new" "$raw"
      fi
      ;;
    *://*)
      raw=$near/raw/given
      run rm -rf "$raw" # of another corpus, or an older state of this one
      transfer "$CORPUS" "$raw"
      ;;
  esac
  t5cr data build --raw "$raw" --tfds_data_dir "$near/data"
  if [[ $CORPUS == sample ]]; then
    t5cr data vocabulary --tfds_data_dir "$near/data" --size 1536 \
      --out "$near/vocabulary/sentencepiece.model"
  fi
  t5cr probes build --tfds_data_dir "$near/data"
  t5cr baselines --tfds_data_dir "$near/data" --out "$near/baselines"
  if [[ $OUT == *://* ]]; then
    [[ $CORPUS != sample ]] || transfer "$near/vocabulary" "$OUT/vocabulary"
    transfer "$near/baselines" "$OUT/baselines"
    transfer "$near/data" "$OUT/data" "$CORPUS"
  fi
}

# Runs a gin-configured job: VERB, t5x's script for it, the run file, flags.
gin_job() {
  local command verb=$1 script=t5x.$2 run_file=$ENGINE/$3.gin
  shift 3
  if [[ $ENGINE == t5cr ]]; then
    command=("$PYTHON" -m t5cr.cli "$verb")
    [[ $MULTIPROCESS == false ]] || command+=(--multiprocess)
  else
    command=("$PYTHON" -m "$script")
    # t5x.eval and t5x.infer have no flags for that.
    [[ $MULTIPROCESS == false ]] ||
      command=("$PYTHON" launch/processes.py "$script")
    command+=(--alsologtostderr --gin_search_paths=gin)
  fi
  run "${command[@]}" --gin_file="$run_file" \
    --gin_file="recipe/$RECIPE.gin" "$@" --tfds_data_dir="$OUT/data" "${GIN[@]}"
}

train() {
  gin_job train train finetune --gin_file="recipe/rows/$ROW.gin" \
    --gin.MODEL_DIR="$(gin_string "$OUT/rows/$ROW")"
}

# The run; for t5x's row `none` what the recipe starts from.
checkpoint() {
  if [[ $ENGINE == t5x && $ROW == none ]]; then
    echo "--gin.CHECKPOINT_PATH=%INITIAL_CHECKPOINT_PATH"
  else
    echo "--gin.CHECKPOINT_PATH=$(gin_string "$OUT/rows/$ROW")"
  fi
}

eval_row() {
  gin_job eval eval eval "$(checkpoint)" \
    --gin.EVAL_OUTPUT_DIR="$(gin_string "$OUT/results/$ROW")" \
    --gin.MIXTURE_OR_TASK_NAME="['t5cr_redial_conversation', 't5cr_probe_*']"
}

score() {
  gin_job score infer score "$(checkpoint)" \
    --gin.INFER_OUTPUT_DIR="$(gin_string "$OUT/scores/$ROW")" \
    --gin.MIXTURE_OR_TASK_NAME="'t5cr_probes'"
}

report() {
  local near row folder folders=()
  near=$(near)
  for row in ${ROWS//,/ }; do
    folder=rows/$row
    [[ $ENGINE == t5cr || $row != none ]] || folder=results/none
    [[ $OUT != *://* ]] || transfer "$OUT/$folder" "$near/$folder"
    folders+=("$near/$folder")
  done
  # Baselines are measured on all examples; a recipe of few is beside them no
  # row of one report.
  if ! grep -q '^EVAL_NUM_EXAMPLES' "gin/recipe/$RECIPE.gin"; then
    [[ $OUT != *://* ]] || transfer "$OUT/baselines" "$near/baselines"
    folders+=("$near"/baselines/*)
  fi
  # The titles that there are, for the share of generated ones that exist.
  run env TFDS_DATA_DIR="$OUT/data" "$PYTHON" -m t5cr.cli report \
    "${folders[@]}" --out "$near/report"
  [[ $OUT != *://* ]] || transfer "$near/report" "$OUT/report"
}

main() {
  set -euo pipefail
  parse "$@"
  if [[ $VERB == install ]]; then
    one_of --engine "$ENGINE" t5cr,t5x
    one_of --accelerator "$ACCELERATOR" cpu,gpu,tpu
  else
    check_common
  fi
  cd "$ROOT"
  [[ $VERB == install ]] || : "${PYTHON:=.venv/bin/python}"
  # So that an environment in which this project is not installed does too.
  export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
  # A process of its own must not wait for the rest of a slice.
  [[ $VERB != data && $VERB != report ]] || export JAX_PLATFORMS=cpu
  [[ -z $VOCABULARY ]] || export T5CR_VOCABULARY=$VOCABULARY
  if [[ $VERB == eval ]]; then eval_row; else "$VERB"; fi
}

main "$@"
