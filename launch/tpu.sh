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

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

OWN_FLAGS="accelerator zone project runtime" OWN_SWITCHES="spot queued"
TAKES_MORE=true
ACCELERATOR='' ZONE='' PROJECT='' RUNTIME='' SPOT=false QUEUED=false
: "${GRACE_SECONDS:=60}" # until a loss shows in the state of a TPU

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
  KIND=tpu-vm FIELD=state READY=READY
  [[ $QUEUED == false ]] || KIND=queued-resources FIELD=state.state READY=ACTIVE
}

tpu() { # group, command, more
  run gcloud compute tpus "$1" "$2" "$NAME" "${@:3}" "${WHERE[@]}"
}

# The state of the TPU or of the request for it; `absent` where there is none,
# `unknown` where gcloud does not answer.
state() {
  local tries
  for tries in 1 2 3 4 5; do
    gcloud compute tpus "$KIND" describe "$NAME" "${WHERE[@]}" \
      --format="value($FIELD)" 2>"$STATE/error" && return
    if grep -qi 'not.\?found' "$STATE/error"; then
      echo absent
      return
    fi
    ((tries == 5)) || sleep "$POLL_SECONDS"
  done
  echo unknown
}

# Both a machine that is gone and a request that was suspended for it.
is_ready() {
  [[ $(state) == "$READY" ]] &&
    [[ $QUEUED == false || $(KIND=tpu-vm FIELD=state state) == READY ]]
}

delete() {
  if [[ $QUEUED == true ]]; then
    tpu queued-resources delete --force
  else
    tpu tpu-vm delete
  fi
}

create() {
  local flags=(--accelerator-type="$ACCELERATOR")
  [[ $SPOT == false ]] || flags+=(--spot)
  if [[ $QUEUED == true ]]; then
    tpu queued-resources create --node-id="$NAME" "${flags[@]}" \
      --runtime-version="$RUNTIME" "${EXTRA[@]}"
  else
    tpu tpu-vm create "${flags[@]}" --version="$RUNTIME" "${EXTRA[@]}"
  fi
}

await() {
  local now before=''
  while true; do
    now=$(state)
    [[ $now == "$before" ]] || say "$NAME: $now"
    case $now in
      "$READY") return 0 ;;
      SUSPEND* | PREEMPTED | TERMINATED | STOPPED) return "$LOST" ;;
      FAILED | DELETING | absent | unknown)
        say "$NAME is $now:"
        tpu "$KIND" describe
        return 1
        ;;
    esac
    before=$now
    sleep "$POLL_SECONDS"
  done
}

remote() { # worker, command
  tpu tpu-vm ssh --worker="$1" --command="$(quoted "${@:2}")"
}

# A failure while the TPU is being taken away is a loss.
or_lost() {
  local status=0
  "$@" || status=$?
  if ((status)) && [[ $DRY_RUN == false ]]; then
    sleep "$GRACE_SECONDS"
    is_ready || return "$LOST"
  fi
  return "$status"
}

prepare() {
  local install=(install --engine "$ENGINE" --accelerator tpu) now=absent
  [[ -z $PYTHON ]] || install+=(--python "$PYTHON")
  if [[ $DRY_RUN == false ]]; then
    now=$(state)
    [[ $now == absent ]] || say "$NAME is there: $now"
    case $now in
      PREEMPTED | TERMINATED | STOPPED | SUSPEND* | FAILED)
        delete
        now=absent
        ;;
      "$READY") is_ready || { delete && now=absent; } ;;
      unknown)
        cat "$STATE/error"
        return 1
        ;;
    esac
  fi
  [[ $now != absent ]] || create
  if [[ $DRY_RUN == true ]]; then
    tpu "$KIND" describe --format="value($FIELD)"
  else
    await
  fi
  if [[ $now == "$READY" ]] && remote 0 t5cr/launch/detached.sh running; then
    return # nothing is changed under a job
  fi
  pack
  or_lost copy "$STATE/t5cr.tar.gz"
  or_lost remote all mkdir -p t5cr
  or_lost remote all tar -xzf t5cr.tar.gz -C t5cr
  or_lost remote all t5cr/launch/job.sh "${install[@]}"
  preview "${install[@]}"
}

copy() {
  run gcloud compute tpus tpu-vm scp "$1" "$NAME:" --worker=all "${WHERE[@]}"
}

run_step() {
  local job=$2${3:+_$3} worker=all lines=+1 answer status silent=0
  local command=("${@:2}" "${GIVEN[@]}")
  local detached=t5cr/launch/detached.sh
  if [[ $1 == one ]]; then worker=0; else command+=(--multiprocess); fi
  or_lost remote "$worker" "$detached" start "$job" \
    t5cr/launch/job.sh "${command[@]}"
  preview "${command[@]}"
  if [[ $DRY_RUN == true ]]; then
    remote 0 "$detached" follow "$job" "$lines"
    remote 0 "$detached" status "$job"
    return
  fi
  while true; do
    remote 0 "$detached" follow "$job" "$lines" || true
    answer=$(remote 0 "$detached" status "$job") || answer=silence
    case $answer in
      "exited 0") return 0 ;;
      exited*)
        # One that lost its peers fails too, and is seen first.
        status=0
        or_lost return_status "${answer#exited }" || status=$?
        if ((status != LOST)); then
          remote 0 "$detached" tail "$job" || true
          [[ $(remote "$worker" "$detached" status "$job") != *vanished* ]] ||
            status=$LOST
        fi
        ((status != LOST)) || remote all "$detached" stop "$job" || true
        return "$status"
        ;;
      vanished) # the VM was started anew
        remote all "$detached" stop "$job" || true
        return "$LOST"
        ;;
      silence) ((++silent < 20)) || return "$LOST" ;;
      *) silent=0 ;;
    esac
    is_ready || return "$LOST"
    say "The connection broke; the job goes on."
    lines=20
    sleep "$POLL_SECONDS"
  done
}

return_status() {
  return "$1"
}

clean_up() {
  [[ $DRY_RUN == false && $(state) == absent ]] || delete
}

tell_kept() {
  say "The TPU $NAME is left, with what runs on it, and costs. Follow it with" \
    "the same command, delete it with:"
  DRY_RUN=true delete
}

launch "$@"
