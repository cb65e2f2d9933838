# shellcheck shell=bash
# What all launchers share: the steps of a command, going on after a machine was
# taken away, and cleaning up at the end, whatever it is.
#
# A launcher sets what lib.sh says, defines these, and calls `launch "$@"`:
#
#   check      ends with a message if something is missing or wrong
#   prepare    WHERE VERB ROW: gets machines ready; status LOST if they were
#              taken meanwhile
#   run_step   WHERE VERB ROW: runs the job to its end; its status, or LOST
#   clean_up   STATUS: removes what the others made
#   tell_kept  says what --keep leaves, and how to follow and remove it
#
# and RESTARTS_ITSELF=true if whatever runs the job sees to --restarts.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

LOST=75 # the status of a machine that was taken away (EX_TEMPFAIL)
KEEP=false
: "${POLL_SECONDS:=30}" "${PATIENCE:=20}" # polls in a row without an answer

# Lines `WHERE VERB ROW`; WHERE is `one` process or `all` of them.
steps() {
  local row
  case $VERB in
    data | report) echo "one $VERB" ;;
    train | eval | score) echo "all $VERB $ROW" ;;
    study)
      echo "one data"
      for row in ${ROWS//,/ }; do
        if [[ $ENGINE == t5x && $row == none ]]; then
          echo "all eval none"
        else
          echo "all train $row"
        fi
      done
      echo "one report"
      ;;
  esac
}

# Shows what the job on a machine runs.
preview() {
  [[ $DRY_RUN == false ]] || "$ROOT/launch/job.sh" "$@" --dry-run | sed 's/^/  /'
}

CHILD='' PREPARED=false RESTARTED=0 STATE=''

# Runs a function in a process group of its own, so that all of it can be ended.
attempt() {
  local status=0
  if [[ $DRY_RUN == true ]]; then
    "$@"
    return
  fi
  set -m
  (
    set -e
    "$@"
  ) </dev/null &
  CHILD=$!
  set +m
  wait "$CHILD" || status=$?
  CHILD=''
  return "$status"
}

# Prepares machines if there are none, and runs a step on them, until it ends.
finish_step() {
  local status
  while true; do
    set +e # or `set -e` would mean nothing in what is called
    status=0
    if [[ $PREPARED == false ]]; then
      attempt prepare "$@"
      status=$?
      ((status)) || PREPARED=true
    fi
    if ((status == 0)); then
      attempt run_step "$@"
      status=$?
    fi
    set -e
    ((status)) || return 0
    if ((status != LOST)) || [[ ${RESTARTS_ITSELF-} == true ]]; then
      say "$2${3:+ $3} failed with status $status."
      exit "$status"
    fi
    ((++RESTARTED <= RESTARTS)) || {
      say "The machines were taken away $RESTARTED times; --restarts allows" \
        "$RESTARTS. The same command goes on from the last checkpoint."
      exit "$LOST"
    }
    say "The machines were taken away: starting again" \
      "($RESTARTED of at most $RESTARTS)."
    PREPARED=false
  done
}

end() {
  local status=$?
  set +e
  trap - EXIT
  # Nothing may stop the cleaning up: a terminal that is closed hangs up twice,
  # and Ctrl-C also ends the `tee` that reads this.
  trap '' INT TERM HUP PIPE
  if [[ -n $CHILD ]]; then
    kill -TERM -- "-$CHILD" 2>/dev/null
    # One that asked a question on the terminal is stopped, and would not end.
    kill -CONT -- "-$CHILD" 2>/dev/null
    wait "$CHILD" 2>/dev/null
  fi
  if [[ $KEEP == true ]]; then
    tell_kept
  else
    say "cleaning up" 2>/dev/null || exec >/dev/null 2>&1 # nobody reads it
    attempt clean_up "$status" || say "Cleaning up failed; look after it" \
      "yourself: $(tell_kept)"
  fi
  [[ -z $STATE ]] || rm -rf "$STATE"
  exit "$status"
}

# The commit that machines are given, as an archive.
pack() {
  [[ $DRY_RUN == true ]] || git -C "$ROOT" diff --quiet HEAD -- ||
    say "Changes that are not committed are left out."
  run git -C "$ROOT" archive --format=tar.gz --output="$STATE/t5cr.tar.gz" HEAD
}

launch() {
  local line words all
  set -euo pipefail
  parse "$@"
  check_common
  check
  if [[ $DRY_RUN == true ]]; then
    STATE=${TMPDIR:-/tmp}/t5cr-launch
  else
    STATE=$(mktemp -d)
  fi
  trap end EXIT
  trap 'exit 130' INT
  trap 'exit 141' PIPE
  trap 'exit 143' TERM HUP
  mapfile -t all < <(steps)
  for line in "${all[@]}"; do
    read -ra words <<<"$line"
    say "step: ${words[*]:1}"
    finish_step "${words[@]}"
  done
  say "done: $OUT"
}
