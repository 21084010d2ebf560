# shellcheck shell=bash
# The checklists before and after a deployment, and what is watched then. Sourced by deploy.sh.

# check NAME STATUS [TEXT] prints a line of a checklist and passes the status on.
check() {
  local name=$1 status=$2 text=${3:-}
  printf '  %-28s %s%s\n' "$name" "$([[ $status -eq 0 ]] && echo ok || echo FAILED)" "${text:+  $text}" >&2
  return "$status"
}

# before_deployment TAG: every check is made, even if one before has failed.
before_deployment() {
  local tag=$1 bad=0 name value missing=() file
  check_results 'CI' "$CI_RESULT" "$tag" 'lint ok' 'test ok' 'security ok' 'e2e ok' || bad=1
  check_results 'security scan' "$SCAN_RESULT" "$tag" 'critical 0' 'high 0' || bad=1
  for name in $REQUIRED; do
    value=$(setting "$name")
    [[ -n $value ]] || missing+=("$name")
  done
  check 'environment variables' "$([[ ${#missing[@]} -eq 0 ]] && echo 0 || echo 1)" "${missing[*]:+not set in ENV_FILE: ${missing[*]}}" || bad=1
  file=$(setting DETECTIONS_CLASSES)
  if [[ -n $file ]]; then
    file=$(on_host "$file")
    check 'classes.json' "$(jq -e . "$file" >/dev/null 2>&1 && echo 0 || echo 1)" "$file" || bad=1
  fi
  reachable 'Loader' "$(setting DETECTIONS_LOADER_URL)" || bad=1
  model_in_loader || bad=1
  reachable 'Annotations service' "$(setting DETECTIONS_ANNOTATIONS_URL)" || bad=1
  value=$(df --output=avail -m "$DATA" 2>/dev/null | tail -n 1)
  check 'disk' "$([[ ${value:-0} -ge $MIN_DISK ]] && echo 0 || echo 1)" "${value:-0} MB free under $DATA, at least $MIN_DISK are needed" || bad=1
  local host=${URL#http://}
  if [[ -z $(running) ]]; then
    check 'port' "$(exec 2>/dev/null 7<>"/dev/tcp/${host%:*}/${host##*:}" && echo 1 || echo 0)" "$LISTEN" || bad=1
  fi
  return "$bad"
}

# on_host FILE: settings name files as the container sees them, where DATA is /data.
on_host() { echo "${1/#\/data\//$DATA/}"; }

# model_in_loader: it would give the model that ENV_FILE names.
model_in_loader() {
  local url name path token answer
  url=$(setting DETECTIONS_LOADER_URL) name=$(setting DETECTIONS_MODEL) path=$(setting DETECTIONS_LOADER_PATH)
  [[ -n $url ]] || return 0
  path=${path:-/models/\{name\}}
  url=${url%/}${path//'{name}'/$name}
  token=$(setting DETECTIONS_LOADER_TOKEN)
  [[ -n $token || -z $(setting DETECTIONS_LOADER_TOKEN_FILE) ]] || token=$(cat "$(on_host "$(setting DETECTIONS_LOADER_TOKEN_FILE)")")
  # The header is enough; one that knows no ranges would send all of it.
  answer=$(curl --silent --max-time "$HEALTH_TIMEOUT" --range 0-0 --location --dump-header - --output /dev/null \
    --config <([[ -z $token ]] || printf 'header = "Authorization: Bearer %s"\n' "$token") "$url" 2>/dev/null |
    tr -d '\r' | awk '/^HTTP\// { status = $2 } END { print status }')
  check 'model in the Loader' "$([[ $answer == 20[06] ]] && echo 0 || echo 1)" "$url: ${answer:-no answer}"
}

# check_results NAME FILE TAG LINE…: the file is whole, and has the lines.
check_results() {
  local name=$1 file=${2//'{tag}'/$3} line
  if [[ -z $file ]]; then
    check "$name" 0 'not checked: no file is configured'
    return
  fi
  shift 3
  [[ -r $file && -r $file.sha256 ]] || { check "$name" 1 "$file or its .sha256 cannot be read" || return; }
  [[ $(sha256sum <"$file" | cut -d ' ' -f 1) == "$(cut -d ' ' -f 1 "$file.sha256")" ]] || { check "$name" 1 "$file is not what its .sha256 says" || return; }
  for line in "$@"; do
    grep -qxF "$line" "$file" || { check "$name" 1 "$file has no line \"$line\"" || return; }
  done
  check "$name" 0 "$file"
}

# reachable NAME URL: it answers, whatever it says.
reachable() {
  [[ -n $2 ]] || return 0
  check "$1" "$(curl --silent --output /dev/null --max-time "$HEALTH_TIMEOUT" "$2" && echo 0 || echo 1)" "$2"
}

# works URL: what a client needs.
works() {
  local url=$1 bad=0 answer n
  check 'GET /health' "$(get --output /dev/null "$url/health" 2>/dev/null && echo 0 || echo 1)" || bad=1
  answer=$(picture | curl --silent --max-time 30 ${TOKEN_FILE:+"-H@$TOKEN_FILE"} --data-binary @- "$url/detect" 2>/dev/null)
  check 'a detection' "$(jq -e '.width == 64 and .height == 64 and (.detections | type == "array") and (.model | length > 0)' <<<"$answer" >/dev/null 2>&1 && echo 0 || echo 1)" \
    "$(jq -r '.detail // .model // empty' <<<"$answer" 2>/dev/null)" || bad=1
  check 'ENABLED after it' "$([[ $(get "$url/health" 2>/dev/null | jq -r .aiAvailability) == ENABLED ]] && echo 0 || echo 1)" || bad=1
  # A stream has no end: a header of it is enough, and that comes soon, or the machine is busy.
  for ((n = 1; n <= HEALTH_TIMEOUT; n *= 2)); do
    answer=$(curl --silent --max-time "$n" ${TOKEN_FILE:+"-H@$TOKEN_FILE"} --dump-header - --output /dev/null "$url/detect/stream" 2>/dev/null || true)
    [[ -z $answer ]] || break
  done
  check 'GET /detect/stream' "$(grep -qi '^content-type: text/event-stream' <<<"$answer" && echo 0 || echo 1)" || bad=1
  return "$bad"
}

# after_deployment URL: that, and a log without errors.
after_deployment() {
  local bad=0 container errors
  works "$1" || bad=1
  container=$(running | head -n 1)
  errors=$(engine logs "$container" 2>&1 | jq -Rr 'fromjson? | select(.level == "ERROR") | .msg' | sort | uniq -c | head -n 3)
  check 'log without errors' "$([[ -z $errors ]] && echo 0 || echo 1)" "${errors//$'\n'/; }" || bad=1
  return "$bad"
}

# counts prints how many requests and sessions were answered, and how many failed because
# of the hub: by their status, or by such a code. A /readyz that says "not yet" has not failed.
counts() {
  get "$URL/metrics" 2>/dev/null | awk '
    /^detections_requests_total\{/ { all += $NF; if ($0 ~ /status="5xx"/ && $0 !~ /door="GET \/readyz"/) bad += $NF }
    /^detections_sessions_ended_total\{/ { all += $NF; if ($0 ~ /code="(internal|engine_unavailable)"/) bad += $NF }
    END { printf "%d %d\n", all, bad }'
}

# memory prints how many MB of memory the hub has.
memory() { get "$URL/metrics" 2>/dev/null | awk '/^process_resident_memory_bytes / { printf "%d\n", $2 / 1048576 }'; }

# picture_time prints the status of a detection in a small picture, and the milliseconds that it took.
picture_time() {
  picture | curl --silent --max-time 15 ${TOKEN_FILE:+"-H@$TOKEN_FILE"} --output /dev/null --write-out '%{http_code} %{time_total}\n' --data-binary @- "$URL/detect" 2>/dev/null |
    awk '{ printf "%s %d\n", $1, $2 * 1000 }'
}

# measure_before remembers how the version that runs does: its rate of errors, its memory,
# and the time of a picture.
measure_before() {
  rate_before=0
  local all bad
  if read -r all bad < <(counts) && [[ ${all:-0} -gt 0 ]]; then
    rate_before=$(awk -v all="$all" -v bad="$bad" 'BEGIN { print (all >= 20 && bad >= 3 ? bad / all : 0) }')
  fi
  memory_before=$(memory) || memory_before=0
  read -r _ time_before < <(picture_time) || true
}

# ill sets what to what is wrong with the hub at this moment, and fails if nothing is.
ill() {
  local status took most now
  what=''
  get --output /dev/null "$URL/health" 2>/dev/null || { what='GET /health fails' && return; }
  get --output /dev/null "$URL/readyz" 2>/dev/null || { what='it is not ready' && return; }
  read -r status took < <(picture_time) || true
  # 429 and 503: there is too much to do, or /readyz says so.
  case ${status:-000} in
    000 | 5*) [[ $status == 503 ]] || { what="a detection is answered with ${status:-nothing} after ${took:-0} ms" && return; } ;;
  esac
  most=$(larger $((MAX_SECONDS * 1000)) "$(times "$MAX_GROWTH" "${time_before:-0}")")
  [[ ${took:-0} -le $most ]] || { what="a detection takes $took ms; at most $most are expected" && return; }
  now=$(memory)
  most=$MAX_MEMORY
  [[ $most -gt 0 ]] || most=$(larger 1024 "$(times "$MAX_GROWTH" "${memory_before:-0}")")
  [[ ${now:-0} -le $most ]] || { what="it has $now MB of memory; at most $most are expected" && return; }
  return 1
}

times() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%d\n", a * b }'; }

larger() { echo $(($1 > $2 ? $1 : $2)); }

# observe watches the hub for OBSERVE seconds, and sets why if it must be rolled back.
observe() {
  local deadline=$((SECONDS + OBSERVE)) failed=0 all bad from_all from_bad rate since=$SECONDS what
  read -r from_all from_bad < <(counts) || true
  while [[ $SECONDS -lt $deadline ]]; do
    if ! ill; then
      failed=0
    elif failed=$((failed + 1)) && [[ $failed -ge $MAX_FAILED ]]; then
      why="$failed health checks in a row have failed: $what"
      say "$why"
      return 1
    fi
    if read -r all bad < <(counts) && [[ -n ${bad:-} ]]; then
      rate=$(awk -v n="$((all - ${from_all:-0}))" -v bad="$((bad - ${from_bad:-0}))" 'BEGIN { print (n >= 20 && bad >= 3 ? bad / n : 0) }')
      if awk -v r="$rate" -v most="$MAX_ERRORS" -v before="${rate_before:-0}" -v growth="$MAX_GROWTH" 'BEGIN { exit !(r > most && r > growth * before) }'; then
        why="$(times 100 "$rate") % of requests and sessions fail"
        say "$why"
        return 1
      fi
      if [[ $((SECONDS - since)) -ge 60 ]]; then
        from_all=$all from_bad=$bad since=$SECONDS
      fi
    fi
    sleep 1
  done
}

# evidence CONTAINER keeps what is needed to find out what was wrong.
evidence() {
  local container=$1 folder
  folder=$STATE/evidence/$(date -u +%Y%m%dT%H%M%SZ)-$container
  mkdir -p "$folder"
  engine logs "$container" >"$folder/log" 2>&1 || true
  engine inspect "$container" 2>/dev/null |
    jq '.[0] | {image: .ImageName, state: .State, created: .Created, labels: .Config.Labels}' >"$folder/container.json" 2>/dev/null || true
  get "$URL/metrics" >"$folder/metrics" 2>/dev/null || true
  get "$URL/health" >"$folder/health.json" 2>/dev/null || true
  get "$URL/v1/sessions" >"$folder/sessions.json" 2>/dev/null || true
  # The configuration: of settings the names only, since values may be secret.
  sed '/^ *NOTIFY_/d' "$CONF_FILE" >"$folder/deploy.conf"
  [[ -z $ENV_FILE ]] || sed -n 's/^\([A-Z_]*\)=.*/\1/p' "$ENV_FILE" >"$folder/settings"
  {
    engine --version
    engine exec "$container" /detections version || true # it may have ended
    uname -a
    nproc
    free -m
    df -m "$DATA"
  } >"$folder/versions" 2>&1
  say "evidence is in $folder"
}
