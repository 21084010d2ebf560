#!/usr/bin/env bash
# usage: deploy/setup/step.sh NAME COMMAND...
#
# Runs one step of make: says its name, runs the command, says how long it took
# and whether it failed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/lib.sh"

[[ $# -ge 2 && $1 != --help ]] || { usage && exit; }
name=$1
shift
printf '\n=== %s\n' "$name"
from=${EPOCHREALTIME/[.,]/}
status=0
"$@" || status=$?
took=$(((${EPOCHREALTIME/[.,]/} - from) / 1000))
printf '=== %s: %s, %d.%03d s\n' "$name" "$([[ $status -eq 0 ]] && echo ok || echo "FAILED ($status)")" \
  $((took / 1000)) $((took % 1000))
exit "$status"
