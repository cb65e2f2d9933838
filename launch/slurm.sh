#!/usr/bin/env bash
# Runs on GPU nodes of a SLURM cluster, from a clone in a folder that all nodes
# see.
#
#   launch/slurm.sh train ROW   --out DIR --nodes N --gpus N
#   launch/slurm.sh eval ROW    dialogues and probes of that run
#   launch/slurm.sh score ROW   log-likelihoods of its probes' targets
#   launch/slurm.sh study       data, every row, the report
#   launch/slurm.sh data|report one step of it
#
# --nodes N       of GPUs (1)
# --gpus N        of a node; one process runs on each
# --time LIMIT    of a job, such as 12:00:00; one that reaches it goes on
# --name NAME     of the jobs (t5cr)
# --restarts N    after so many losses of a job give up (10)
# --keep          leave the job in the queue when this script is ended; else it
#                 is cancelled, Ctrl-C included
# --dry-run       print all commands, run none
# -- FLAGS        more flags for sbatch: --partition=gpu --account=mine
#
# --engine t5cr|t5x, --recipe NAME, --corpus published|sample|RAW, --rows A,B,
# --vocabulary FILE, --python FILE, --gin.MACRO=VALUE: see launch/job.sh.

source "$(dirname "${BASH_SOURCE[0]}")/launching.sh"

OWN_FLAGS="nodes gpus time"
TAKES_MORE=true
NODES=1 GPUS='' TIME=''
: "${GRACE_SECONDS:=120}" # until SLURM sees that a node does not respond

check() {
  need sbatch squeue sacct scontrol sinfo scancel
  [[ $OUT != *://* ]] || fail "--out $OUT: give a folder that all nodes see."
  [[ $NODES =~ ^[1-9][0-9]*$ ]] || fail "--nodes '$NODES' is no number."
  [[ $GPUS =~ ^[1-9][0-9]*$ ]] || fail "--gpus N is missing: GPUs of a node."
}

# On the node that this runs on: the compute nodes see the same .venv.
prepare() {
  local install=(install --engine "$ENGINE" --accelerator gpu)
  [[ -z $PYTHON ]] || install+=(--python "$PYTHON")
  run "$ROOT/launch/job.sh" "${install[@]}"
  preview "${install[@]}"
}

submit() { # where, job's name, command
  local flags=(--parsable --job-name="$NAME-$2" --output="$LOG"
    --open-mode=append --requeue)
  [[ -z $TIME ]] || flags+=(--time="$TIME")
  if [[ $1 == all ]]; then
    # JAX takes the GPU with the number of the task on its node.
    flags+=(--nodes="$NODES" --ntasks-per-node="$GPUS" --gpus-per-node="$GPUS")
  else
    flags+=(--nodes=1 --ntasks=1)
  fi
  run sbatch "${flags[@]}" "${EXTRA[@]}" \
    --wrap="srun --kill-on-bad-exit=1 $(quoted "${@:3}")"
}

# `STATE|EXIT:SIGNAL` of a job: from accounting or, where there is none, from the
# controller, which forgets it after some minutes; nothing if neither answers.
record() {
  local told
  told=$(sacct --jobs="$1" --allocations --noheader --parsable2 \
    --format=State,ExitCode 2>/dev/null) || told=''
  if [[ -z $told ]]; then
    told=$(scontrol show job "$1" --oneliner 2>/dev/null) || true
    [[ $told =~ JobState=([A-Z_]+).*\ ExitCode=([0-9:]+) ]] || return 0
    told="${BASH_REMATCH[1]}|${BASH_REMATCH[2]}"
  fi
  echo "$told"
}

# Whether a node of a job is gone: its peers miss it, and fail, before SLURM does.
lost_a_node() {
  local nodes
  nodes=$(sacct --jobs="$1" --allocations --noheader --parsable2 \
    --format=NodeList 2>/dev/null) || nodes=''
  if [[ -z $nodes ]]; then
    [[ $(scontrol show job "$1" --oneliner) =~ \ NodeList=([^ ]+) ]] || return
    nodes=${BASH_REMATCH[1]}
  fi
  sleep "$GRACE_SECONDS"
  sinfo --noheader --nodes="$nodes" --format=%T |
    grep -Eq '^(down|fail|drain)|\*$'
}

# Waits until a job has ended, however often SLURM puts it back in the queue;
# sets ANSWER to `STATE|EXIT:SIGNAL`.
await() {
  local now before='' silent=0
  while true; do
    now=$(squeue --noheader --jobs="$1" --format=%T 2>/dev/null) || now=''
    ANSWER=''
    if [[ -z $now ]]; then
      ANSWER=$(record "$1")
      case $ANSWER in
        '') ((++silent < PATIENCE)) || return 0 ;;
        # Accounting comes later than the queue, or squeue did not answer.
        PENDING* | RUNNING* | COMPLETING* | CONFIGURING* | SUSPENDED*) ;;
        *) return 0 ;;
      esac
    fi
    [[ -z $now$ANSWER ]] || silent=0
    [[ -z $now || $now == "$before" ]] || say "job $1: $now"
    before=$now
    sleep "$POLL_SECONDS"
  done
}

run_step() {
  local job=$2${3:+-$3} id status
  local command=("$ROOT/launch/job.sh" "${@:2}" "${GIVEN[@]}")
  if [[ $1 == all ]] && ((NODES * GPUS > 1)); then command+=(--multiprocess); fi
  LOG=$OUT/logs/$NAME-${job//_/-}.log
  run mkdir -p "$OUT/logs"
  if [[ $DRY_RUN == true ]]; then
    submit "$1" "${job//_/-}" "${command[@]}"
    preview "${command[@]:1}"
    say "with the number that sbatch prints:"
    run tail --lines=0 --follow=name --retry "$LOG"
    run squeue --noheader --jobs=ID --format=%T
    run sacct --jobs=ID --allocations --noheader --parsable2 \
      --format=State,ExitCode
    say "without accounting, and if it failed:"
    run scontrol show job ID --oneliner
    run sinfo --noheader --nodes=NODES --format=%T
    return
  fi
  id=$(submit "$1" "${job//_/-}" "${command[@]}")
  id=${id%%;*} # a federation adds its cluster's name
  echo "$id" >"$STATE/job"
  touch "$LOG"
  tail --lines=0 --follow=name --retry "$LOG" &
  await "$id"
  kill $!
  if [[ -z $ANSWER ]]; then
    say "SLURM tells nothing of job $id any more."
    return 1 # it may run: `clean_up` cancels it
  fi
  rm "$STATE/job"
  say "job $id: $ANSWER"
  case $ANSWER in
    COMPLETED*) return 0 ;;
    # Out of time is no failure: the job goes on from its last checkpoint.
    PREEMPTED* | NODE_FAIL* | BOOT_FAIL* | TIMEOUT* | REQUEUED* | REVOKED*)
      # SLURM must not start it again beside the next one.
      run scancel "$id" || true
      return "$LOST"
      ;;
    FAILED*)
      ! lost_a_node "$id" || return "$LOST"
      ;;
  esac
  tail --lines=40 "$LOG"
  status=${ANSWER##*|}
  status=${status%%:*}
  [[ $status =~ ^[1-9][0-9]*$ ]] || status=1
  return "$status"
}

clean_up() {
  if [[ $DRY_RUN == true ]]; then
    say "if it is ended early:"
    run scancel ID
  elif [[ -e $STATE/job ]]; then
    run scancel "$(<"$STATE/job")"
  fi
}

tell_kept() {
  [[ ! -e $STATE/job ]] || say "Job $(<"$STATE/job") is left in the queue." \
    "Its log is below $OUT/logs; scancel $(<"$STATE/job") ends it."
}

launch "$@"
