#!/usr/bin/env bash
# usage: deploy/stop-services.sh
#
# Writes the tag that runs to .deploy-previous-tag, tells the hub to stop (SIGTERM), gives
# it GRACE seconds, and reports what was left: sessions are suspended, and go on with the
# next start. Exit status: 0 nothing runs any more, 1 something does, 2 deploy.conf makes
# no sense, 3 another deployment is under way.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "$0")/common.sh"

[[ ${1:-} != -h && ${1:-} != --help ]] || { usage && exit; }
[[ $# -eq 0 ]] || fail "$E_USAGE" "it takes no arguments; see --help"
configure
exclusively
mapfile -t containers < <(running)
if [[ ${#containers[@]} -eq 0 ]]; then
  say "nothing runs"
  exit
fi
remember "$previous_file" "$(tag_of "${containers[0]}")"
for container in "${containers[@]}"; do
  begun=$SECONDS
  engine stop --time "$GRACE" "$container" >/dev/null || fail "$E_FAILED" "$container does not stop"
  left=$(engine logs --tail 20 "$container" 2>&1 | jq -Rc 'fromjson? | select(.msg == "the data directory is free") | .sessions' | tail -n 1)
  say "$container has stopped after $((SECONDS - begun)) s; sessions: ${left:-unknown}"
  engine rm --force --volumes "$container" >/dev/null
done
