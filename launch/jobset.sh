# shellcheck shell=bash
# The manifest of a step for launch/kubernetes.sh: one JobSet.

: "${LINGER_SECONDS:=60}" # of a pod that failed, where there are several

# Lines of YAML, each so many spaces to the right.
indent() {
  local line spaces
  printf -v spaces "%$1s" ''
  while IFS= read -r line; do echo "$spaces$line"; done
}

yaml_string() {
  printf "'%s'" "${1//\'/\'\'}"
}

# What a pod asks for, and where it may run.
pod() { # where, command
  local word
  if [[ $1 == all && -n $CHIPS ]]; then
    echo "nodeSelector:"
    echo "  cloud.google.com/gke-tpu-accelerator: $ACCELERATOR"
    echo "  cloud.google.com/gke-tpu-topology: $TOPOLOGY"
    [[ $SPOT == false ]] || echo "  cloud.google.com/gke-spot: 'true'"
  elif [[ $SPOT == true ]]; then
    echo "nodeSelector:"
    echo "  cloud.google.com/gke-spot: 'true'"
  fi
  if [[ $SPOT == true ]]; then
    echo "tolerations:"
    echo "- {key: cloud.google.com/gke-spot, operator: Equal, value: 'true'," \
      "effect: NoSchedule}"
  fi
  [[ -z $SERVICE_ACCOUNT ]] || echo "serviceAccountName: $SERVICE_ACCOUNT"
  if [[ -n $VOLUME ]]; then
    echo "volumes:"
    echo "- {name: out, persistentVolumeClaim: {claimName: $VOLUME}}"
  fi
  echo "restartPolicy: Never"
  echo "containers:"
  echo "- name: job"
  echo "  image: $(yaml_string "$IMAGE")"
  echo "  imagePullPolicy: Always" # the same tag is pushed at every start
  echo "  command:"
  for word in "${@:2}"; do echo "  - $(yaml_string "$word")"; done
  if [[ -n $VOLUME ]]; then
    echo "  volumeMounts:"
    echo "  - {name: out, mountPath: /out}"
  fi
  if [[ $1 == all && -n $CHIPS ]]; then
    echo "  resources: {limits: {google.com/tpu: $CHIPS}}"
  elif [[ $1 == all ]]; then
    echo "  resources: {limits: {nvidia.com/gpu: $GPUS}}"
  fi
}

# On GKE's TPUs, JAX finds the other processes itself.
environment() { # JobSet
  cat <<END
  env:
  - {name: T5CR_COORDINATOR, value: '$1-workers-0-0.$1:8476'}
  - {name: T5CR_NUM_PROCESSES, value: '$NODES'}
  - name: T5CR_PROCESS_ID
    valueFrom:
      fieldRef:
        fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
END
}

manifest() { # JobSet, where, command
  local count=1 script='"$@"' pool=''
  if [[ $2 == all ]]; then
    count=$NODES
    # A slice is one node pool.
    [[ -z $CHIPS ]] || pool="alpha.jobset.sigs.k8s.io/exclusive-topology:"
    [[ -z $CHIPS ]] || pool+=" cloud.google.com/gke-nodepool"
  fi
  # A pod that lost its peers fails too. It has to end after the lost one, by
  # which Kubernetes sees that this is no failure of the job.
  ((count == 1)) ||
    script+=" || { status=\$?; sleep $LINGER_SECONDS; exit \$status; }"
  cat <<END
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $1
  annotations: {${pool}}
spec:
  failurePolicy:
    maxRestarts: $RESTARTS
    rules:
    # A node was taken away: all pods start again, at the last checkpoint.
    - {name: lost, action: RestartJobSet, onJobFailureReasons: [PodFailurePolicy]}
    # The job itself failed, and would again.
    - {name: failed, action: FailJobSet}
  replicatedJobs:
  - name: workers
    replicas: 1
    template:
      spec:
        completions: $count
        parallelism: $count
        backoffLimit: 0
        podFailurePolicy:
          rules:
          - {action: FailJob, onPodConditions: [{type: DisruptionTarget}]}
        template:
          spec:
$({
    pod "$2" bash -c "$script" job "${@:3}"
    [[ -n $CHIPS ]] || ((count == 1)) || environment "$1"
  } | indent 12)
END
}
