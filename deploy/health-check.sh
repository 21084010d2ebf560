#!/usr/bin/env bash
# usage: deploy/health-check.sh [--wait SECONDS] [URL]
#
# Says whether the hub is healthy: GET /health answers 200, and aiAvailability is not
# "None". With lazy initialisation nothing happens before a first request: this sends one.
# Three checks, a second apart, must fail before it counts. --wait: for so long it may still
# be getting ready. Exit status: 0 healthy, 1 not, 2 the command line or deploy.conf makes no sense.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "$0")/common.sh"

wait=0
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage && exit ;;
    --wait)
      [[ ${2:-} =~ ^[0-9]+$ ]] || fail "$E_USAGE" "--wait: expected seconds"
      wait=$2
      shift
      ;;
    -*) fail "$E_USAGE" "unknown flag $1; see --help" ;;
    *) url=$1 ;;
  esac
  shift
done
configure
url=${url:-$URL}
deadline=$((SECONDS + wait))
failed=0
while :; do
  if health=$(get "$url/health" 2>&1); then
    state=$(jq -r '.aiAvailability' <<<"$health" 2>/dev/null) || state=
    case $state in
      ENABLED)
        say "healthy: $(jq -r '"\(.model) on \(.provider), \(.sessions) sessions, version \(.version)"' <<<"$health")"
        exit
        ;;
      None) picture | curl --silent --output /dev/null --max-time 2 ${TOKEN_FILE:+"-H@$TOKEN_FILE"} --data-binary @- "$url/detect" || true ;;
    esac
    why="aiAvailability is ${state:-missing}$(jq -r 'if .reason then ": " + .reason else "" end' <<<"$health" 2>/dev/null || true)"
    if [[ $state == DOWNLOADING || $state == CONVERTING ]] && [[ $wait -eq 0 ]]; then
      say "healthy, and getting ready: $why"
      exit
    fi
  else
    why=${health##*$'\n'}
  fi
  failed=$((failed + 1))
  if [[ $failed -ge $MAX_FAILED && $SECONDS -ge $deadline ]]; then
    fail "$E_FAILED" "not healthy: $why"
  fi
  sleep 1
done
