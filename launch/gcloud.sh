# shellcheck shell=bash
# The TPU of launch/tpu.sh: its state, its creation, commands on its VMs.

: "${GRACE_SECONDS:=60}" # until a loss shows in the state of a TPU
: "${CAPACITY_SECONDS:=300}" # until there may be one again

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

# `ready`; `lost`, be it the machine or the request for it; or `unknown`.
condition() {
  local now
  now=$(state)
  if [[ $now == ACTIVE ]]; then now=$(KIND=tpu-vm FIELD=state state); fi
  case $now in
    READY) echo ready ;;
    unknown) echo unknown ;;
    *) echo lost ;;
  esac
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

# Creates the TPU; a status of LOST if another was lost and there is none yet.
recreate() {
  local status=0
  [[ $DRY_RUN == false ]] || { create && return; }
  create 2>&1 | tee "$STATE/create" || status=$?
  if ((status && RESTARTED)) && grep -Eqi \
    'no more capacity|RESOURCE_EXHAUSTED|stockout' "$STATE/create"; then
    say "There is no such TPU at present; --queued waits for one."
    sleep "$CAPACITY_SECONDS"
    return "$LOST"
  fi
  return "$status"
}

await() {
  local now before='' silent=0
  while true; do
    now=$(state)
    [[ $now == "$before" ]] || say "$NAME: $now"
    case $now in
      "$READY") return 0 ;;
      SUSPEND* | PREEMPTED | TERMINATED | STOPPED) return "$LOST" ;;
      FAILED | DELETING | absent)
        say "$NAME is $now:"
        tpu "$KIND" describe
        return 1
        ;;
      unknown)
        ((++silent < PATIENCE)) || {
          cat "$STATE/error"
          return 1
        }
        ;;
      *) silent=0 ;;
    esac
    before=$now
    sleep "$POLL_SECONDS"
  done
}

remote() { # worker, command
  tpu tpu-vm ssh --worker="$1" --command="$(quoted "${@:2}")" "${SSH[@]}"
}

# A failure while the TPU is being taken away is a loss.
or_lost() {
  local status=0
  "$@" || status=$?
  if ((status)) && [[ $DRY_RUN == false ]]; then
    sleep "$GRACE_SECONDS"
    [[ $(condition) == ready ]] || return "$LOST"
  fi
  return "$status"
}

copy() {
  run gcloud compute tpus tpu-vm scp "$1" "$NAME:" --worker=all "${SCP[@]}" \
    "${WHERE[@]}"
}

return_status() {
  return "$1"
}
