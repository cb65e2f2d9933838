#!/usr/bin/env bash
# Runs on this machine: its CPU or its GPUs.
#
#   launch/local.sh train ROW   --out DIR
#   launch/local.sh eval ROW    dialogues and probes of that run
#   launch/local.sh score ROW   log-likelihoods of its probes' targets
#   launch/local.sh study       data, every row, the report
#   launch/local.sh data|report one step of it
#
# --accelerator cpu|gpu|tpu   what JAX is installed for; found out by default
# --dry-run                   print all commands, run none
#
# --engine t5cr|t5x, --recipe NAME, --corpus published|sample|RAW, --rows A,B,
# --vocabulary FILE, --python FILE, --gin.MACRO=VALUE: see launch/job.sh.
#
# --out gs://BUCKET/DIR writes there: with `data`, what launch/tpu.sh reads.
# Ctrl-C ends the job; the same command goes on from its last checkpoint.

source "$(dirname "${BASH_SOURCE[0]}")/launching.sh"

OWN_FLAGS="accelerator"
ACCELERATOR=''

check() {
  if [[ -z $ACCELERATOR ]]; then
    ACCELERATOR=cpu
    ! command -v nvidia-smi >/dev/null || ACCELERATOR=gpu
  fi
  one_of --accelerator "$ACCELERATOR" cpu,gpu,tpu
}

prepare() {
  local install=(install --engine "$ENGINE" --accelerator "$ACCELERATOR")
  [[ -z $PYTHON ]] || install+=(--python "$PYTHON")
  run "$ROOT/launch/job.sh" "${install[@]}"
  preview "${install[@]}"
}

run_step() {
  local command=("${@:2}" "${GIVEN[@]}")
  run "$ROOT/launch/job.sh" "${command[@]}"
  preview "${command[@]}"
}

# What a job for gs:// has here; one that failed needs it again.
clean_up() { # status
  [[ $OUT != *://* || $1 != 0 ]] || run rm -rf "$ROOT/$(near)"
}

tell_kept() {
  [[ $OUT != *://* ]] || say "kept here: $ROOT/$(near)"
}

launch "$@"
