# shellcheck shell=bash disable=SC2034 # what is set here is used by those who source it
# What the deployment scripts share. Sourced, never run.

# Exit statuses, the same in every script.
readonly E_FAILED=1      # it did not work; what runs is what ran before
readonly E_USAGE=2       # the command line or deploy.conf makes no sense
readonly E_BUSY=3        # another deployment is under way
readonly E_CHECK=4       # a check before the deployment failed; nothing was changed
readonly E_ROLLED_BACK=5 # the new version failed; the one before runs again
readonly E_DOWN=6        # nothing healthy runs: somebody must look

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() { # STATUS TEXT…
  local status=$1
  shift
  say "error: $*"
  exit "$status"
}

# usage prints the comment at the top of the script that runs.
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }

# configure reads deploy.conf and checks it.
configure() {
  local file=${DETECTIONS_DEPLOY_CONF:-$here/deploy.conf}
  CONF_FILE=$file
  [[ -r $file ]] || fail "$E_USAGE" "there is no $file; copy deploy.conf.example and set IMAGE"
  # shellcheck source=/dev/null
  . "$file"
  : "${LISTEN:=127.0.0.1:8080}" "${DATA:=/var/lib/detections}" "${USER_ID:=10001:10001}" "${NAME:=detections}"
  : "${GRACE:=30}" "${READY_TIMEOUT:=600}" "${HEALTH_TIMEOUT:=5}" "${OBSERVE:=60}" "${MAX_FAILED:=3}" "${MAX_ERRORS:=0.02}" "${MAX_GROWTH:=3}" "${MAX_SECONDS:=2}" "${MAX_MEMORY:=0}"
  : "${MIN_DISK:=2000}" "${STATE:=$here}" "${ENV_FILE:=}" "${REQUIRED:=}" "${ENGINE:=}" "${ENGINE_ARGS:=}" "${RUN_ARGS:=}"
  : "${CI_RESULT:=}" "${SCAN_RESULT:=}" "${NOTIFY_COMMAND:=}" "${NOTIFY_URL:=}" "${PREBUILD:=0}"
  [[ -n ${IMAGE:-} ]] || fail "$E_USAGE" "IMAGE is not set in $file"
  [[ $LISTEN =~ :[0-9]+$ ]] || fail "$E_USAGE" "LISTEN: expected address:port, found \"$LISTEN\" in $file"
  local name
  for name in GRACE READY_TIMEOUT HEALTH_TIMEOUT OBSERVE MAX_FAILED MAX_SECONDS MAX_MEMORY MIN_DISK PREBUILD; do
    [[ ${!name} =~ ^[0-9]+$ ]] || fail "$E_USAGE" "$name: expected a whole number, found \"${!name}\" in $file"
  done
  for name in MAX_ERRORS MAX_GROWTH; do
    [[ ${!name} =~ ^[0-9]+(\.[0-9]+)?$ ]] || fail "$E_USAGE" "$name: expected a number, found \"${!name}\" in $file"
  done
  if [[ -z $ENGINE ]]; then
    ENGINE=$(command -v docker || command -v podman) || fail "$E_USAGE" "neither docker nor podman is installed"
  fi
  command -v "$ENGINE" >/dev/null || fail "$E_USAGE" "ENGINE: there is no $ENGINE"
  for name in curl jq; do
    command -v $name >/dev/null || fail "$E_USAGE" "$name is not installed"
  done
  for name in ENV_FILE TOKEN_FILE; do
    [[ -z ${!name:-} || -r ${!name} ]] || fail "$E_USAGE" "$name: ${!name} cannot be read"
  done
  [[ -d $DATA ]] || fail "$E_USAGE" "DATA: there is no folder $DATA; make it, for user $USER_ID"
  mkdir -p "$STATE" 2>/dev/null || true
  [[ -w $STATE ]] || fail "$E_USAGE" "STATE: $STATE cannot be written to"
  local host=${LISTEN%:*}
  [[ -n $host && $host != 0.0.0.0 && $host != '[::]' ]] || host=127.0.0.1
  URL=http://$host:${LISTEN##*:}
  previous_file=$STATE/.deploy-previous-tag
  current_file=$STATE/.deploy-current-tag
}

# setting NAME is what ENV_FILE says of a variable.
setting() { [[ -z $ENV_FILE ]] || sed -n "s/^$1=//p" "$ENV_FILE" 2>/dev/null | tail -n 1; }

# remember FILE TAG writes a tag, whole or not at all.
remember() {
  printf '%s\n' "$2" >"$1.new"
  mv "$1.new" "$1"
}

engine() {
  # shellcheck disable=SC2086 # flags are several words
  "$ENGINE" $ENGINE_ARGS "$@"
}

# exclusively keeps other deployments out for as long as this process lives.
exclusively() {
  exec 8>"$STATE/.deploy-lock"
  flock --nonblock 8 || fail "$E_BUSY" "another deployment is under way (it holds $STATE/.deploy-lock)"
}

# check_tag says whether a tag can be one.
check_tag() { [[ $1 =~ ^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$ ]] || fail "$E_USAGE" "\"$1\" is no tag of an image"; }

# running lists the hub's containers that run, the newest first.
running() { engine ps --filter "label=detections.hub=$NAME" --format '{{.Names}}'; }

# tag_of says which tag a container was started with.
tag_of() { engine inspect --format '{{index .Config.Labels "detections.tag"}}' "$1"; }

# launch CONTAINER TAG [FLAG…] [-- ARGUMENT…] starts a hub.
launch() {
  local container=$1 tag=$2
  shift 2
  local flags=()
  while [[ $# -gt 0 && $1 != -- ]]; do
    flags+=("$1")
    shift
  done
  [[ ${1:-} != -- ]] || shift
  [[ -z $ENV_FILE ]] || flags+=(--env-file "$ENV_FILE")
  # shellcheck disable=SC2086
  engine run --detach --name "$container" --label "detections.tag=$tag" --user "$USER_ID" --network host \
    --read-only --tmpfs /tmp:mode=1777 --cap-drop all --security-opt no-new-privileges --stop-timeout "$GRACE" \
    "${flags[@]}" $RUN_ARGS "$IMAGE:$tag" serve "$@" 8>&- >/dev/null
}

# launch_hub TAG [ARGUMENT…] starts a hub on the data directory, and prints its name. It is
# started again if it crashes, not if it ends well: then its successor has taken over.
launch_hub() {
  local tag=$1 container
  shift
  container=$NAME-$tag-$(date +%s%N)
  launch "$container" "$tag" --label "detections.hub=$NAME" --restart on-failure --volume "$DATA:/data" \
    --env "DETECTIONS_LISTEN=$LISTEN" --env DETECTIONS_DATA=/data -- "$@" >&2 || return
  echo "$container"
}

# is_running CONTAINER
is_running() { [[ $(engine inspect --format '{{.State.Running}}' "$1" 2>/dev/null) == true ]]; }

# get PATH… asks the hub.
get() { curl --silent --show-error --fail --max-time "$HEALTH_TIMEOUT" ${TOKEN_FILE:+"-H@$TOKEN_FILE"} "$@"; }

# serves CONTAINER: it has the listener. Before that another one may answer at its URL.
serves() { engine logs "$1" 2>&1 | grep -Eq '"msg":"serving"|INF serving'; }

# await_ready CONTAINER URL waits until a hub is ready, and says how far it is.
await_ready() {
  local container=$1 url=$2 deadline=$((SECONDS + READY_TIMEOUT)) last='' health now
  while :; do
    if ! is_running "$container"; then
      say "$container has ended: $(engine logs --tail 1 "$container" 2>&1 | cut -c 1-300)"
      return 1
    fi
    if serves "$container" && health=$(get "$url/health" 2>/dev/null); then
      now=$(jq -r '"\(.aiAvailability)\(if .percent then " \(.percent | floor) %" else "" end)\(if .reason then ": " + .reason else "" end)"' <<<"$health")
      [[ $now == "$last" ]] || say "$now"
      last=$now
      if get --output /dev/null "$url/readyz" 2>/dev/null; then
        return 0
      fi
    fi
    if [[ $SECONDS -ge $deadline ]]; then
      say "not ready within $READY_TIMEOUT s: ${last:-no answer}"
      return 1
    fi
    sleep 0.1
  done
}

# A red square of 64 × 64 pixels.
picture() {
  base64 -d <<<'iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAT0lEQVR42u3PQQkAAAgEsIty/ZMYywi+hcEKLNO+FgEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQGBywIFLoDxdXpc0wAAAABJRU5ErkJggg=='
}

# notify EVENT TEXT…
notify() {
  local event=$1
  shift
  if [[ -n $NOTIFY_COMMAND ]]; then
    $NOTIFY_COMMAND "$event" "$*" || say "the command of NOTIFY_COMMAND failed"
  fi
  if [[ -n $NOTIFY_URL ]]; then
    jq -cn --arg event "$event" --arg text "$*" '{event: $event, text: $text}' |
      curl --silent --show-error --fail --max-time 10 --output /dev/null -H 'Content-Type: application/json' --data-binary @- "$NOTIFY_URL" ||
      say "NOTIFY_URL did not take it"
  fi
}
