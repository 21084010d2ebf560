#!/usr/bin/env bash
# usage: deploy/pull-images.sh TAG [DIGEST]
#
# Gets an image from the registry, verifies its digest (sha256:…) if one is given, and
# sees that it runs. What runs now is left alone. Exit status: 0 it is there, 1 it could
# not be had, 2 the command line or deploy.conf makes no sense.
set -euo pipefail
# shellcheck source=deploy/common.sh
. "$(dirname "$0")/common.sh"

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
