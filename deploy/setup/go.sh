#!/usr/bin/env bash
# usage: deploy/setup/go.sh [--help]
#
# Makes sure that a Go that can build this module is there, and prints the path
# of its go command.
#
# A Go that is new enough is used as it is. An older one (Debian 12 packages
# 1.19, which is installed if there is none at all) gets the new one for us, by
# `go mod download`: the Go project publishes its toolchains as modules, and
# this way its checksum database vouches for them.
#
#   DETECTIONS_CACHE=FOLDER  the cache (default ~/.cache/detections)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/lib.sh"

wanted=1.26   # or newer; go.mod says the same
version=1.26.8 # what is got where the machine has only an older one

case "${1:-}" in
  '') ;;
  -h | --help) usage && exit ;;
  *) die "unknown argument $1; see --help" ;;
esac

# Questions about a go command are put from /, where no go.mod changes the answer.
new_enough() {
  local found
  [[ -x $1 ]] || return 1
  found=$(cd / && GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
  [[ $(printf '%s\n' "$wanted" "${found#go}" | sort --version-sort | head -n 1) == "$wanted" ]]
}

case $(machine) in x64) arch=amd64 ;; arm64) arch=arm64 ;; esac
ours=$(cache_root)/go-$version-$arch
for candidate in "$(command -v go || true)" /usr/local/go/bin/go "$ours/bin/go"; do
  if new_enough "$candidate"; then
    echo "$candidate"
    exit
  fi
done

"$here/packages.sh" go
old=$(command -v go)
if new_enough "$old"; then # the machine's own packages have a new one
  echo "$old"
  exit
fi
lock go
if [[ ! -x $ours/bin/go ]]; then # another run may have got it meanwhile
  say "getting Go $version (70 MB) with the Go that is here, $(cd / && GOTOOLCHAIN=local "$old" env GOVERSION)"
  work=$(mktemp -d "$(cache_root)/go-get.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  module=golang.org/toolchain@v0.0.1-go$version.linux-$arch
  (cd "$work" && GOTOOLCHAIN=local GOMODCACHE=$work GOFLAGS=-modcacherw "$old" mod download "$module" >&2) ||
    die "Go $version could not be got as $module; install Go $wanted or newer by hand"
  # A module holds neither permissions nor nested go.mod files: Go's own
  # toolchain switching puts back these.
  chmod +x "$work/$module"/bin/* "$work/$module"/pkg/tool/*/*
  for file in "$work/$module"/src/{,cmd/}_go.mod; do
    cp "$file" "${file%_go.mod}go.mod"
  done
  mv "$work/$module" "$ours"
  say "Go $version is in $ours, $SECONDS s"
fi
echo "$ours/bin/go"
