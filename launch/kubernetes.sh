#!/usr/bin/env bash
# Runs on Kubernetes as JobSets: nodes with GPUs, or a TPU slice of GKE.
#
#   launch/kubernetes.sh train ROW   --out DIR --image IMAGE --nodes N --gpus N
#   launch/kubernetes.sh eval ROW    dialogues and probes of that run
#   launch/kubernetes.sh score ROW   log-likelihoods of its probes' targets
#   launch/kubernetes.sh study       data, every row, the report
#   launch/kubernetes.sh data|report one step of it
#
# --image IMAGE           REGISTRY/NAME:TAG, which is built here and pushed
# --no-build              it is there already
# --nodes N               (1)
# --gpus N                of a node, or of GKE's TPUs:
# --chips N               of a node
# --accelerator TYPE      tpu-v5-lite-podslice, tpu-v6e-slice, tpu-v4-podslice, …
# --topology AxB          of the slice: 4x4
# --spot                  GKE's spot nodes
# --volume CLAIM          a volume that all nodes can write, mounted at /out
# --service-account NAME  that may read and write gs://
# --namespace NAME
# --name NAME             what the JobSets' names begin with (t5cr)
# --restarts N            after so many losses of a node give up (10)
# --keep                  leave the JobSet; else it is deleted at the end,
#                         whatever happened, Ctrl-C included
# --dry-run               print all commands and manifests, run none
#
# --out is gs://BUCKET/DIR, or a folder below /out.
# --engine t5cr|t5x, --recipe NAME, --corpus published|sample|RAW, --rows A,B,
# --vocabulary FILE, --gin.MACRO=VALUE: see launch/job.sh.

source "$(dirname "${BASH_SOURCE[0]}")/launching.sh"
source "$(dirname "${BASH_SOURCE[0]}")/jobset.sh"

OWN_FLAGS="image nodes gpus chips accelerator topology volume service-account"
OWN_FLAGS+=" namespace"
OWN_SWITCHES="no-build spot"
RESTARTS_ITSELF=true
IMAGE='' NODES=1 GPUS='' CHIPS='' ACCELERATOR='' TOPOLOGY='' VOLUME=''
SERVICE_ACCOUNT='' NAMESPACE='' NO_BUILD=false SPOT=false

check() {
  local one
  [[ -n $IMAGE ]] || fail "--image REGISTRY/NAME:TAG is missing."
  for one in "$NODES" "${GPUS:-1}" "${CHIPS:-1}"; do
    [[ $one =~ ^[1-9][0-9]*$ ]] || fail "'$one' is no number of nodes or chips."
  done
  [[ -z $GPUS || -z $CHIPS ]] || fail "--gpus and --chips exclude each other."
  if [[ -n $CHIPS ]]; then
    [[ -n $ACCELERATOR && $TOPOLOGY =~ ^[0-9]+(x[0-9]+)+$ ]] ||
      fail "--chips wants --accelerator and --topology, such as" \
        "tpu-v5-lite-podslice and 4x4."
    ((${TOPOLOGY//x/*} == NODES * CHIPS)) ||
      fail "--topology $TOPOLOGY has $((${TOPOLOGY//x/*})) chips, but" \
        "--nodes $NODES --chips $CHIPS are $((NODES * CHIPS))."
  elif [[ -z $GPUS ]]; then
    fail "--gpus N or --chips N is missing: the accelerators of a node."
  fi
  [[ $OUT == gs://* || (-n $VOLUME && $OUT == /out*) ]] ||
    fail "--out '$OUT' has to be gs://BUCKET/DIR, or below /out with --volume."
  need kubectl
  [[ $NO_BUILD == true ]] || need docker git
  KUBECTL=(kubectl)
  [[ -z $NAMESPACE ]] || KUBECTL+=(--namespace="$NAMESPACE")
}

prepare() {
  local accelerator=gpu archive=$STATE/t5cr.tar.gz
  [[ -z $CHIPS ]] || accelerator=tpu
  [[ $NO_BUILD == false ]] || return 0
  pack
  if [[ $DRY_RUN == true ]]; then
    echo "$(build "$accelerator") < $archive"
    preview install --engine "$ENGINE" --accelerator "$accelerator"
  else
    build "$accelerator" <"$archive"
  fi
  run docker push "$IMAGE"
}

build() {
  run docker build --tag="$IMAGE" --file=launch/Dockerfile \
    --build-arg=ACCELERATOR="$1" --build-arg=ENGINE="$ENGINE" -
}

get() { # what, jsonpath
  "${KUBECTL[@]}" get "$1" "${@:3}" --output=jsonpath="$2"
}

# The newest pod with the number 0 and its phase.
first_pod() {
  get pods '{range .items[*]}{.metadata.name} {.status.phase}{"\n"}{end}' \
    --selector="$SELECTOR,batch.kubernetes.io/job-completion-index=0" \
    --sort-by=.metadata.creationTimestamp | tail -n 1
}

# Lines `POD REASON MESSAGE` of pods that wait, and why there are none.
waiting() { # JobSet
  local reason='{.status.containerStatuses[*].state.waiting.reason}'
  local placed='{.status.conditions[?(@.type=="PodScheduled")].message}'
  get pods "{range .items[*]}{.metadata.name} $reason $placed{\"\n\"}{end}" \
    --selector="$SELECTOR" --field-selector=status.phase=Pending
  get events '{range .items[*]}{.message}{"\n"}{end}' \
    --field-selector="type=Warning,involvedObject.name=$1-workers-0" \
    --sort-by=.lastTimestamp | tail -n 1
}

# Shows the logs of a JobSet, one start after the other, until it ends.
follow() {
  local ended='' pod phase shown='' lines silent=0 why='' before='' stuck=0
  while true; do
    pod='' phase=''
    read -r pod phase < <(first_pod) || true
    if [[ -z $pod || $phase == Pending ]]; then
      why=$(waiting "$1") || true
      [[ -z $why || $why == "$before" ]] || say "$1 waits: $why"
      before=$why
      case $why in
        *ErrImagePull* | *ImagePullBackOff* | *InvalidImageName* | \
          *CreateContainerConfigError*)
          ((++stuck < 5)) || return 1
          ;;
        *) stuck=0 ;;
      esac
    fi
    if [[ -n $pod && $phase != Pending ]] &&
      [[ $pod != "$shown" || $phase == Running ]]; then
      lines=-1
      [[ $pod != "$shown" ]] || lines=20 # the connection broke
      run "${KUBECTL[@]}" logs --follow --tail="$lines" "$pod" || true
      shown=$pod
    fi
    [[ -z $ended ]] || break
    if ended=$(get jobset '{.status.terminalState}' "$1"); then
      silent=0
    else
      ((++silent < PATIENCE)) || return 1
    fi
    # Once more when it has ended: it may have been faster than this.
    [[ -n $ended ]] || sleep "$POLL_SECONDS"
  done
  say "$1: $ended"
  [[ $ended == Completed ]]
}

FAILURE='{.status.conditions[?(@.type=="Failed")].reason}'
EXIT_CODE='status.containerStatuses[*].state.terminated.exitCode'

run_step() {
  local job=$NAME-$2${3:+-$3} status
  local command=(launch/job.sh "${@:2}" "${GIVEN[@]}")
  job=${job//_/-}
  SELECTOR=jobset.sigs.k8s.io/jobset-name=$job
  if [[ $1 == all ]] && [[ -n $CHIPS || $NODES != 1 ]]; then
    command+=(--multiprocess)
  fi
  if [[ $DRY_RUN == true ]]; then
    say "$STATE/$job.yaml:"
    manifest "$job" "$1" "${command[@]}" | indent 2
    run "${KUBECTL[@]}" apply --filename="$STATE/$job.yaml"
    preview "${command[@]:1}"
    say "with the name of the pod, until the JobSet has ended:"
    run "${KUBECTL[@]}" logs --follow POD
    run "${KUBECTL[@]}" get jobset "$job" \
      --output=jsonpath='{.status.terminalState}'
    run "${KUBECTL[@]}" delete jobset "$job" --ignore-not-found
    return
  fi
  manifest "$job" "$1" "${command[@]}" >"$STATE/$job.yaml"
  # One that has ended is of an earlier launch.
  [[ -z $(get jobset '{.status.terminalState}' "$job" --ignore-not-found) ]] ||
    run "${KUBECTL[@]}" delete jobset "$job"
  echo "$job" >"$STATE/jobset"
  run "${KUBECTL[@]}" apply --filename="$STATE/$job.yaml" || {
    status=$?
    rm "$STATE/jobset" # another launch's, with other flags, stays
    say "If JobSet $job is of another launch: use another --name."
    return "$status"
  }
  status=0
  follow "$job" || {
    run "${KUBECTL[@]}" logs --selector="$SELECTOR" --prefix --tail=40 || true
    status=$(get pods "{.items[*].$EXIT_CODE}" --selector="$SELECTOR" |
      tr ' ' '\n' | grep -m 1 -x '[1-9][0-9]*') || status=1
    # Only a lost node starts a JobSet again, so nothing else uses them up.
    if [[ $(get jobset "$FAILURE" "$job") == ReachedMaxRestarts ]]; then
      say "Nodes were taken away more than $RESTARTS times, which --restarts" \
        "allows. The same command goes on from the last checkpoint."
      status=$LOST
    fi
  }
  [[ $KEEP == true ]] || clean_up
  return "$status"
}

clean_up() {
  if [[ -n $STATE && -e $STATE/jobset ]]; then
    run "${KUBECTL[@]}" delete jobset "$(<"$STATE/jobset")" --ignore-not-found &&
      rm "$STATE/jobset"
  fi
}

tell_kept() {
  [[ ! -e $STATE/jobset ]] || say "JobSet $(<"$STATE/jobset") is left. Follow" \
    "it with the same command, delete it with:" \
    "${KUBECTL[*]} delete jobset $(<"$STATE/jobset")"
}

launch "$@"
