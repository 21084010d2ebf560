#!/usr/bin/env bash
# usage: deploy/image/twice.sh [--help]
#
# Builds the image twice, the second time from a copy of what is committed in another folder
# with nothing cached of Go, and says whether both are the same, to the last bit. Takes podman; in
# the format of OCI, since that of docker has the random name of the container it was built in.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/../setup/lib.sh"

[[ $# -eq 0 ]] || { usage && exit; }
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
engine=(podman --runtime runc --cgroup-manager cgroupfs)

# build FOLDER NAME: an image of what is committed, built in that folder; prints its id.
build() {
  mkdir -p "$1"
  git -C "$root" archive HEAD | tar -x -C "$1"
  make -s -C "$1" rootfs VERSION=twice >&2
  "${engine[@]}" build -q --no-cache --layers=false --format oci --timestamp 0 -f "$1/deploy/image/Containerfile" -t "$2" \
    --build-context rootfs="$1/bin/rootfs" --build-arg VERSION=twice --build-arg REVISION=twice "$1/bin/rootfs" >&2
  sha256sum "$1/bin/rootfs/root/detections" >&2
  "${engine[@]}" image inspect --format '{{.Id}}' "$2"
}

first=$(build "$work/one" detections:one)
second=$(GOCACHE=$work/cache build "$work/a/longer/path" detections:two)
"${engine[@]}" rmi detections:one detections:two >/dev/null 2>&1 || true
[[ $first == "$second" ]] || die "they differ: $first, $second"
say "twice the same: $first"
