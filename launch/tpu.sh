#!/usr/bin/env bash
# Runs on a Cloud TPU: one VM, or all VMs of a pod slice.
#
#   launch/tpu.sh train ROW   --out gs://BUCKET/DIR --accelerator TYPE --zone ZONE
#   launch/tpu.sh eval ROW    dialogues and probes of that run
#   launch/tpu.sh score ROW   log-likelihoods of its probes' targets
#   launch/tpu.sh study       data, every row, the report
#   launch/tpu.sh data|report one step of it
#
# --accelerator TYPE  v5litepod-16, v6e-8, v4-8, …
# --zone ZONE         --project PROJECT (else gcloud's own)
# --runtime VERSION   of the VM's software; chosen by the type
# --spot              cheaper, and may be taken away
# --queued            wait in the queue (queued resources)
# --name NAME         of the TPU (t5cr)
# --restarts N        after so many losses of the TPU give up (10)
# --keep              leave the TPU; else it is deleted at the end, whatever
#                     happened, Ctrl-C included
# --dry-run           print all commands, run none
# -- FLAGS            more flags for the command that creates the TPU
#
# --engine t5x|t5cr, --recipe NAME, --corpus published|sample|gs://RAW,
# --rows A,B, --vocabulary FILE, --gin.MACRO=VALUE: see launch/job.sh.

source "$(dirname "${BASH_SOURCE[0]}")/launching.sh"
source "$(dirname "${BASH_SOURCE[0]}")/gcloud.sh"

OWN_FLAGS="accelerator zone project runtime" OWN_SWITCHES="spot queued"
TAKES_MORE=true
ACCELERATOR='' ZONE='' PROJECT='' RUNTIME='' SPOT=false QUEUED=false
DETACHED=t5cr/launch/detached.sh
FOREIGN=3 # its status where another job runs

check() {
  need gcloud git
  [[ -n $ACCELERATOR ]] || fail "--accelerator TYPE is missing, such as v4-8."
  [[ -n $ZONE ]] || fail "--zone ZONE is missing, where the TPU is to be."
  [[ $OUT == gs://* ]] || fail "--out has to be gs://BUCKET/DIR, not '$OUT':" \
    "a TPU's own disk goes with it."
  [[ $CORPUS != /* ]] || fail "--corpus $CORPUS is not on the" \
    "TPU: copy it to gs://, or build the data with launch/local.sh data."
  [[ $VOCABULARY != /* ]] || fail "--vocabulary $VOCABULARY is not on the TPU:" \
    "copy it to gs://."
  if [[ -z $RUNTIME ]]; then
    case $ACCELERATOR in
      v6e-*) RUNTIME=v2-alpha-tpuv6e ;;
      v5p-*) RUNTIME=v2-alpha-tpuv5 ;;
      v5litepod-*) RUNTIME=v2-alpha-tpuv5-lite ;;
      v[234]-*) RUNTIME=tpu-ubuntu2204-base ;;
      *) fail "--accelerator '$ACCELERATOR' is unknown here: give --runtime." ;;
    esac
  fi
  WHERE=(--zone="$ZONE" --quiet)
  [[ -z $PROJECT ]] || WHERE+=(--project="$PROJECT")
  # No question, and an end where nobody answers.
  local option
  SSH=() SCP=()
  for option in BatchMode=yes ConnectTimeout=15 ServerAliveInterval=30 \
    ServerAliveCountMax=4; do
    SSH+=(--ssh-flag="-o$option") SCP+=(--scp-flag="-o$option")
  done
  KIND=tpu-vm FIELD=state READY=READY
  [[ $QUEUED == false ]] || KIND=queued-resources FIELD=state.state READY=ACTIVE
}

# The TPU is not ours: nothing is done to it.
foreign() { # the job of the other
  touch "$STATE/foreign"
  say "TPU $NAME runs ${1:-the job} of another launch: use another --name."
  return "$FOREIGN"
}

# Whether this step's job runs there already; a status of its own if it is
# another, and if the TPU cannot be asked.
follows() { # job
  local there status=0
  there=$(remote 0 "$DETACHED" running) || status=$?
  case $status in
    0) [[ $there == "$1" ]] || foreign "$there" ;;
    255) or_lost return_status 255 ;;
    *) return 1 ;; # none runs, or nothing is installed
  esac
}

prepare() {
  local install=(install --engine "$ENGINE" --accelerator tpu) now=absent
  local silent=0 status=0
  [[ -z $PYTHON ]] || install+=(--python "$PYTHON")
  if [[ $DRY_RUN == false ]]; then
    now=$(state)
    # An outage of this network may be why the TPU seemed lost.
    while ((RESTARTED)) && [[ $now == unknown ]] && ((++silent < PATIENCE)); do
      sleep "$POLL_SECONDS"
      now=$(state)
    done
    [[ $now == absent ]] || say "$NAME is there: $now"
    case $now in
      PREEMPTED | TERMINATED | STOPPED | SUSPEND* | FAILED)
        delete
        now=absent
        ;;
      "$READY") [[ $(condition) != lost ]] || { delete && now=absent; } ;;
      unknown)
        cat "$STATE/error"
        return 1
        ;;
    esac
  fi
  [[ $now != absent ]] || recreate
  if [[ $DRY_RUN == true ]]; then
    tpu "$KIND" describe --format="value($FIELD)"
  else
    await
  fi
  if [[ $now == "$READY" ]]; then
    follows "$2${3:+_$3}" || status=$?
    ((status == 1)) || return "$status" # nothing is changed under a job
  fi
  pack
  or_lost copy "$STATE/t5cr.tar.gz"
  or_lost remote all mkdir -p t5cr
  or_lost remote all tar -xzf t5cr.tar.gz -C t5cr
  or_lost remote all t5cr/launch/job.sh "${install[@]}"
  preview "${install[@]}"
}

run_step() {
  local job=$2${3:+_$3} worker=all lines=+1 now answer status=0 silent=0
  local command=("${@:2}" "${GIVEN[@]}")
  local start
  if [[ $1 == one ]]; then worker=0; else command+=(--multiprocess); fi
  start=(remote "$worker" "$DETACHED" start "$job"
    t5cr/launch/job.sh "${command[@]}")
  or_lost "${start[@]}" || status=$?
  if ((status == FOREIGN)) && [[ -e $STATE/job ]]; then
    # It may be this launch's step before, which hangs.
    remote all "$DETACHED" stop "$(<"$STATE/job")" || true
    status=0
    or_lost "${start[@]}" || status=$?
  fi
  ((status != FOREIGN)) || foreign || return
  ((status == 0)) || return "$status"
  preview "${command[@]}"
  if [[ $DRY_RUN == true ]]; then
    remote 0 "$DETACHED" follow "$job" "$lines"
    remote 0 "$DETACHED" status "$job"
    return
  fi
  echo "$job" >"$STATE/job"
  while true; do
    now=ready answer=silence
    remote 0 "$DETACHED" follow "$job" "$lines" || now=$(condition)
    if [[ $now == ready ]]; then
      answer=$(remote 0 "$DETACHED" status "$job") || {
        answer=silence
        now=$(condition)
      }
    fi
    [[ $now != lost ]] || return "$LOST"
    case $answer in
      "exited 0") return 0 ;;
      exited*)
        failed "$worker" "$job" "${answer#exited }"
        return
        ;;
      vanished) # the VM was started anew
        remote all "$DETACHED" stop "$job" || true
        return "$LOST"
        ;;
      silence)
        say "The TPU does not answer."
        ((++silent < PATIENCE)) || return "$LOST"
        ;;
      *)
        say "The connection broke; the job goes on."
        silent=0
        ;;
    esac
    lines=20
    sleep "$POLL_SECONDS"
  done
}

# Tells why a job ended, and ends what is left of it on the other VMs; its
# status, or LOST: one that lost its peers fails too, and is seen first.
failed() { # worker, job, status
  local status=0
  or_lost return_status "$3" || status=$?
  if ((status != LOST)); then
    remote 0 "$DETACHED" tail "$2" || true
    [[ $(remote "$1" "$DETACHED" status "$2") != *vanished* ]] || status=$LOST
  fi
  remote all "$DETACHED" stop "$2" || true
  return "$status"
}

clean_up() {
  [[ ! -e $STATE/foreign ]] || return 0
  [[ $DRY_RUN == false && $(state) == absent ]] || delete
}

tell_kept() {
  say "The TPU $NAME is left, with what runs on it, and costs. Follow it with" \
    "the same command, delete it with:"
  DRY_RUN=true delete
}

launch "$@"
