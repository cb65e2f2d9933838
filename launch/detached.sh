#!/usr/bin/env bash
# Runs a command that outlives the connection from which it was started:
#
#   detached.sh start JOB COMMAND...   unless that job runs already; one a time:
#                                      waits for another, then ends with 3
#   detached.sh follow JOB [LINES]     its log to its end: of +1 on, of the last
#   detached.sh tail JOB               the end of its log
#   detached.sh status JOB             `running`, `exited N` or `vanished`
#   detached.sh stop JOB               ends it, if it runs, and waits for that
#   detached.sh running                names the job that runs, or ends with 1
set -euo pipefail

: "${WAIT_SECONDS:=60}"
jobs=$HOME/.t5cr_jobs
folder=$jobs/${2:-none}

# The process may be another one after a reboot: its arguments name the job.
is_running() {
  local pid
  [[ ! -e $jobs/$1/status && -e $jobs/$1/pid ]] || return 1
  pid=$(<"$jobs/$1/pid")
  [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") == *" run $1 "* ]]
}

running() {
  local job
  for job in "$jobs"/*/; do
    job=$(basename "$job")
    if is_running "$job"; then
      echo "$job"
      return
    fi
  done
  return 1
}

case $1 in
  start)
    while other=$(running); do
      if [[ $other == "$2" ]]; then
        echo "$other runs already"
        exit
      elif ((SECONDS >= WAIT_SECONDS)); then
        echo "$other runs here"
        exit 3
      fi
      sleep 1 # that of the step before may not be done on every VM
    done
    rm -rf "$folder"
    mkdir -p "$folder"
    setsid "$0" run "${@:2}" </dev/null >/dev/null 2>&1 &
    until [[ -s $folder/pid && -e $folder/log ]]; do sleep 0.1; done
    ;;
  run)
    echo $$ >"$folder/pid"
    status=0
    "${@:3}" >"$folder/log" 2>&1 || status=$?
    echo "exited $status" >"$folder/status.new"
    mv "$folder/status.new" "$folder/status"
    ;;
  follow)
    tail --lines="${3:-+1}" --follow --pid="$(<"$folder/pid")" "$folder/log"
    ;;
  tail)
    tail --lines=40 "$folder/log"
    ;;
  status)
    if [[ -e $folder/status ]]; then
      cat "$folder/status"
    elif is_running "$2"; then
      echo running
    else
      echo vanished
    fi
    ;;
  stop)
    is_running "$2" || exit 0
    group=-$(<"$folder/pid")
    kill -TERM -- "$group"
    while kill -0 -- "$group" 2>/dev/null; do
      if ((SECONDS >= WAIT_SECONDS)); then
        kill -KILL -- "$group" || true
        break
      fi
      sleep 0.2
    done
    ;;
  running)
    running
    ;;
  *)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
