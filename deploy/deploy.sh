#!/usr/bin/env bash
# usage: deploy/deploy.sh TAG [DIGEST]
#        deploy/deploy.sh --rollback
#
# Replaces the running hub by another version, without downtime and without losing work:
#
#   1. checks  what the deployment needs is there, and CI has passed it
#   2. pull    the image is here and runs
#   3. try     the new version, beside the running one, with a store of its own: ready,
#              a detection gives valid results, events stream
#   4. replace the new version gets ready on the data directory, is handed the listener,
#              and takes the sessions up; its predecessor leaves. No connection is refused
#   5. verify  the same checks on the real one, and no errors in its log
#   6. observe health checks, the time of a detection, memory, and the rate of errors, for
#              OBSERVE seconds
#
# If 3 fails nothing was changed; if 4, 5 or 6 fails the version before is put back, in the
# same way. --rollback goes back to the tag in .deploy-previous-tag. After an interruption
# at any point the same command may be given again. Logs, metrics and versions of what was
# rolled back are kept in STATE/evidence.
#
# Exit status: 0 it runs; 1 it could not be done, and what ran before runs; 2 the command line
# or deploy.conf makes no sense; 3 another deployment is under way; 4 a check failed, nothing
# was changed; 5 rolled back; 6 nothing healthy runs.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=deploy/checks.sh
. "$here/checks.sh"

# step NAME COMMAND… runs a step and says how long it took.
step() {
  local name=$1 from=${EPOCHREALTIME/[.,]/} status=0
  shift
  "$@" || status=$?
  local took=$(((${EPOCHREALTIME/[.,]/} - from) / 1000))
  report+=("$(printf '%-9s %-6s %4d.%03d s' "$name" "$([[ $status -eq 0 ]] && echo ok || echo failed)" $((took / 1000)) $((took % 1000)))")
  say "${report[-1]}"
  return "$status"
}

# sum_up prints the report.
sum_up() { printf '  %s\n' "${report[@]}" >&2; }

# try_out TAG runs a version beside the one that runs, and sees what it does.
try_out() {
  local tag=$1 container=$NAME-try url='' n status=0
  engine rm --force --volumes "$container" >/dev/null 2>&1 || true # of an interrupted deployment
  # Files that settings name in the data directory are there, to read.
  launch "$container" "$tag" --volume "$DATA:/data:ro" --env DETECTIONS_LISTEN=127.0.0.1:0 --env DETECTIONS_DATA=/tmp/try \
    --env DETECTIONS_ANNOTATIONS_URL= --env DETECTIONS_LOG_FORMAT=json -- --store memory || return 1
  for ((n = 0; n < 100 && ${#url} == 0; n++)); do
    url=$(engine logs "$container" 2>&1 | jq -Rr 'fromjson? | select(.msg == "serving") | .url' | head -n 1)
    if [[ -n $url ]] || ! is_running "$container"; then
      break
    fi
    sleep 0.1
  done
  if [[ -z $url ]]; then
    say "the new version does not serve: $(engine logs --tail 1 "$container" 2>&1 | cut -c 1-300)"
    status=1
  else
    { await_ready "$container" "$url" && works "$url"; } || status=1
  fi
  [[ $status -eq 0 ]] || evidence "$container"
  engine rm --force --volumes --time 1 "$container" >/dev/null
  return "$status"
}

# replace TAG starts a version that takes over from the one that runs.
replace() {
  local tag=$1 before container others
  before=$(running)
  container=$(launch_hub "$tag" --takeover) || return 1
  if ! await_ready "$container" "$URL"; then
    evidence "$container"
    engine rm --force --volumes --time 1 "$container" >/dev/null
    return 1
  fi
  remember "$current_file" "$tag"
  # It is ready when its predecessor has let go. That one still says its last words.
  for others in $before; do
    engine wait "$others" >/dev/null 2>&1 || true
    engine logs "$others" >"$STATE/last-$NAME.log" 2>&1 || true
    engine rm --force --volumes "$others" >/dev/null 2>&1 || true
  done
}

# settle waits until one container is left of a deployment that was interrupted.
settle() {
  local deadline=$((SECONDS + READY_TIMEOUT))
  while [[ $(running | wc -l) -gt 1 && $SECONDS -lt $deadline ]]; do
    sleep 0.2
  done
  engine ps --all --filter "label=detections.hub=$NAME" --filter status=exited --format '{{.Names}}' | while read -r old; do
    engine rm --force --volumes "$old" >/dev/null
  done
}

# go_back TAG WHY… puts a version back, says so, and ends.
go_back() {
  local tag=$1 bad
  shift
  say "rolling back to $tag: $*"
  for bad in $(running); do
    evidence "$bad"
  done
  # One that does not answer any more does not hand over either.
  if ! get --output /dev/null "$URL/livez" 2>/dev/null; then
    for bad in $(running); do
      engine rm --force --volumes --time 5 "$bad" >/dev/null || true
    done
  fi
  if step rollback replace "$tag" && step verify works "$URL"; then
    notify rollback "$IMAGE is back at $tag: $*"
    sum_up
    fail "$E_ROLLED_BACK" "rolled back to $tag: $*"
  fi
  notify failure "$IMAGE cannot be put back to $tag: $*"
  sum_up
  fail "$E_DOWN" "$tag could not be put back; run health-check.sh and look at $STATE/evidence"
}

rollback() {
  local tag now
  tag=$(cat "$previous_file" 2>/dev/null) || fail "$E_USAGE" "there is nothing to go back to: $previous_file cannot be read"
  [[ $tag =~ ^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$ ]] || fail "$E_USAGE" "there is no tag in $previous_file"
  settle
  now=$(running | head -n 1)
  if [[ -n $now && $(tag_of "$now") == "$tag" ]] && get --output /dev/null "$URL/readyz"; then
    say "$tag runs already; .deploy-previous-tag names no other"
    exit
  fi
  engine image inspect "$IMAGE:$tag" >/dev/null 2>&1 || "$here/pull-images.sh" "$tag" || fail "$E_CHECK" "$IMAGE:$tag cannot be had"
  [[ -z $now ]] || evidence "$now"
  if ! step rollback replace "$tag" || ! step verify works "$URL"; then
    notify failure "$IMAGE cannot be rolled back to $tag"
    sum_up
    fail "$E_DOWN" "$tag does not work either"
  fi
  notify rollback "$IMAGE is back at $tag, by hand"
  sum_up
}

deploy() {
  local tag=$1 now before=''
  settle
  step checks before_deployment "$tag" || fail "$E_CHECK" "nothing was changed"
  step pull "$here/pull-images.sh" "$@" || fail "$E_CHECK" "nothing was changed"
  now=$(running | head -n 1)
  if [[ -n $now ]]; then
    before=$(tag_of "$now")
  fi
  if [[ $before == "$tag" ]]; then
    say "$tag runs already"
  else
    if ! step try try_out "$tag"; then
      notify failure "$IMAGE:$tag does not work; ${before:-nothing} runs as before"
      sum_up
      fail "$E_FAILED" "$tag does not work, and was not put in place${before:+; $before runs as before}"
    fi
    [[ -z $before ]] || remember "$previous_file" "$before"
    measure_before
    if ! step replace replace "$tag"; then
      [[ -z $before ]] || [[ -n $(running) ]] || go_back "$before" "$tag did not get ready"
      notify failure "$IMAGE:$tag did not get ready; ${before:-nothing} runs as before"
      sum_up
      fail "$E_FAILED" "$tag did not get ready${before:+; $before runs as before}"
    fi
  fi
  before=$(cat "$previous_file" 2>/dev/null || true)
  [[ $before != "$tag" ]] || before=''
  if ! step verify after_deployment "$URL" || ! step observe observe; then
    [[ -n $before ]] || fail "$E_DOWN" "$tag fails, and there is no version before it"
    go_back "$before" "${why:-the checks after the deployment failed}"
  fi
  notify success "$IMAGE:$tag runs"
  sum_up
}

report=()
why=''
[[ ${1:-} != -h && ${1:-} != --help ]] || { usage && exit; }
if [[ ${1:-} == --rollback ]]; then
  [[ $# -eq 1 ]] || fail "$E_USAGE" "--rollback takes no tag: it goes back to that of .deploy-previous-tag"
  configure
  exclusively
  rollback
  exit
fi
[[ $# -ge 1 && $# -le 2 && $1 != -* ]] || fail "$E_USAGE" "name a tag, or --rollback; see --help"
configure
check_tag "$1"
exclusively
deploy "$@"
