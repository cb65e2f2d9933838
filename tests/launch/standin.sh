#!/usr/bin/env bash
# A program that notes how it was called, and answers as a test says.
#
# FOLDER/NAME ARGUMENTS... adds a line to FOLDER/calls. FOLDER/answers/N/pattern
# is looked for in that line; the first N that is found decides. Its answers,
# N/1, N/2, …, are run one call after the other, the last one from then on.

folder=${0%/*}
line="${0##*/} $*"
line=${line//$'\n'/ }
for rule in "$folder"/answers/*/; do
  if [[ -e $rule/pattern && $line =~ $(<"$rule/pattern") ]]; then
    printf . >>"$rule/given"
    given=$(<"$rule/given")
    number=${#given}
    while [[ ! -e $rule/$number ]]; do number=$((number - 1)); done
    break
  fi
done
echo "$line" >>"$folder/calls"
# shellcheck source=/dev/null
[[ -z ${number-} ]] || source "$rule/$number"
