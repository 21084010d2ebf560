#!/usr/bin/env bash
# usage: deploy/start-services.sh [TAG]
#
# Starts the hub with a tag (default: the one that ran last) and waits until it is
# ready, saying how far it is. If it runs already with this tag nothing is changed. Exit
# status: 0 it is ready, 1 it is not, 2 the command line or deploy.conf makes no sense,
# 3 another deployment is under way.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "$0")/common.sh"

[[ ${1:-} != -h && ${1:-} != --help ]] || { usage && exit; }
[[ $# -le 1 ]] || fail "$E_USAGE" "one tag at most; see --help"
configure
exclusively
tag=${1:-}
if [[ -z $tag ]]; then
  tag=$(cat "$current_file" 2>/dev/null || cat "$previous_file" 2>/dev/null) || fail "$E_USAGE" "name a tag: nothing has run here yet"
fi
check_tag "$tag"
container=$(running | head -n 1)
if [[ -n $container ]]; then
  now=$(tag_of "$container")
  [[ $now == "$tag" ]] || fail "$E_FAILED" "$container runs, with tag $now; deploy.sh replaces it, stop-services.sh stops it"
  say "$container runs already"
else
  container=$(launch_hub "$tag") || fail "$E_FAILED" "$IMAGE:$tag does not start"
  say "$container is started"
fi
if ! await_ready "$container" "$URL"; then
  # One that cannot begin would be started again and again.
  if ! serves "$container"; then
    engine logs "$container" >"$STATE/last-$NAME.log" 2>&1 || true
    engine rm --force --volumes --time 1 "$container" >/dev/null || true
    fail "$E_FAILED" "$IMAGE:$tag does not start; its log is in $STATE/last-$NAME.log"
  fi
  fail "$E_FAILED" "$IMAGE:$tag is not ready"
fi
remember "$current_file" "$tag"
say "$IMAGE:$tag is ready at $URL"
