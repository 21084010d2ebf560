#!/usr/bin/env bash
# usage: deploy/pull-images.sh TAG [DIGEST]
#
# Gets an image from the registry, verifies its digest (sha256:…) if one is given, and
# sees that it runs. With PREBUILD=1 the engines that it needs for the model are built, into
# DATA/engines, so that no one waits for that later. What runs now is left alone. Exit status: 0 it is
# there, 1 it could not be had, 2 the command line or deploy.conf makes no sense.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "$0")/common.sh"

# prebuild has engines built by the new version, on this machine, for the model in use.
prebuild() {
  local model=() file
  if [[ -n $(setting DETECTIONS_LOADER_URL) ]]; then
    # The hub that runs has fetched what the Loader has; a first one does it itself.
    file=$(find "$DATA/models" -name model.onnx -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d ' ' -f 2-)
    [[ -n $file ]] || { say "no model of the Loader is here yet: the hub fetches it, and builds then" && return; }
    model=(--model "/data/${file#"$DATA"/}")
  fi
  # shellcheck disable=SC2086
  engine run --rm --network none --user "$USER_ID" --read-only --tmpfs /tmp:mode=1777 --volume "$DATA:/data" \
    ${ENV_FILE:+--env-file "$ENV_FILE"} $RUN_ARGS "$IMAGE:$tag" model build --data /data "${model[@]}" >&2
}

[[ ${1:-} != -h && ${1:-} != --help ]] || { usage && exit; }
[[ $# -ge 1 && $# -le 2 ]] || fail "$E_USAGE" "name a tag, and a digest perhaps; see --help"
tag=$1 digest=${2:-}
configure
check_tag "$tag"
[[ -z $digest || $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "$E_USAGE" "\"$digest\" is no digest; expected sha256: and 64 hex digits"

reference=$IMAGE:$tag
[[ -z $digest ]] || reference=$IMAGE@$digest
if ! error=$(engine pull --quiet "$reference" 2>&1 >/dev/null); then
  if [[ -z $digest ]] && engine image inspect "$IMAGE:$tag" >/dev/null 2>&1; then
    say "the registry does not give $reference (${error##*$'\n'}); the copy on this host is used"
  else
    fail "$E_FAILED" "$reference cannot be had: ${error##*$'\n'}"
  fi
fi
[[ -z $digest ]] || engine tag "$reference" "$IMAGE:$tag"
# shellcheck disable=SC2086
version=$(engine run --rm --network none $RUN_ARGS "$IMAGE:$tag" version 2>&1) ||
  fail "$E_FAILED" "$IMAGE:$tag does not run: ${version##*$'\n'}"
say "$IMAGE:$tag is here: ${version%%$'\n'*}, $(engine image inspect --format '{{index .RepoDigests 0}}' "$IMAGE:$tag" 2>/dev/null || echo 'no digest')"
[[ $PREBUILD -eq 0 ]] || prebuild || fail "$E_FAILED" "$IMAGE:$tag has no engine that works for the model"
