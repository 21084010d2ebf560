#!/usr/bin/env bash
# usage: deploy/debug-bundle.sh [FILE.tar.gz]
#
# Collects what is needed to find out what is wrong with the hub that runs: log, metrics,
# health, sessions, container, versions, and the names, not the values, of its settings. Media and
# results are not in it. Exit status: 0 the file is written, 1 nothing runs, 2 the command
# line or deploy.conf makes no sense.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=deploy/checks.sh
. "$here/checks.sh"

[[ ${1:-} != -h && ${1:-} != --help ]] || { usage && exit; }
[[ $# -le 1 ]] || fail "$E_USAGE" "one file at most; see --help"
configure
file=${1:-detections-$(date -u +%Y%m%dT%H%M%SZ).tar.gz}
container=$(running | head -n 1)
[[ -n $container ]] || fail "$E_FAILED" "nothing runs"
STATE=$(mktemp -d)
trap 'rm -rf "$STATE"' EXIT
evidence "$container" 2>/dev/null
tar -C "$STATE" -czf "$file" .
say "$file is written"
