#!/usr/bin/env bash
# usage: deploy/setup/packages.sh [--help] GROUP...
#
# Installs by apt what is missing of these groups of packages:
#
#   build   what it takes to build the program and its libraries
#   go      Debian's Go, if there is no Go at all (go.sh gets a newer one with it)
#   test    what the tests use besides
#   containers  what the tests of the deployment use
#   monitoring  Prometheus, for the test of its rules and the picture of the dashboard
#   sbom    what writing the bill of materials takes
#
# Where nothing is missing it does nothing, takes milliseconds and needs no root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/lib.sh"

# PACKAGE=PROBE: the package is there if the probe, a command or an absolute
# path (with wildcards), is there, whoever installed it.
declare -A groups=(
  [build]='
    gcc=gcc libc6-dev=/usr/include/stdio.h make=make nasm=nasm pkg-config=pkg-config meson=meson ninja-build=ninja
    zlib1g-dev=/usr/lib*/*/libz.a git=git curl=curl xz-utils=xz npm=npm
    ca-certificates=/etc/ssl/certs/ca-certificates.crt'
  [go]='golang-go=go'
  [sbom]='jq=jq'
  [monitoring]='prometheus=prometheus'
  [containers]='podman=podman runc=runc docker-registry=docker-registry jq=jq curl=curl caddy=caddy'
  [test]='
    chromium=chromium fonts-dejavu-core=/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
    ffmpeg=ffmpeg shellcheck=shellcheck jq=jq python3=python3
    python3-websockets=/usr/lib/python3/dist-packages/websockets
    python3-aiortc=/usr/lib/python3/dist-packages/aiortc'
)

missing=()
for group in "$@"; do
  [[ $group != -h && $group != --help ]] || { usage && exit; }
  [[ -n ${groups[$group]:-} ]] || die "unknown group $group; see --help"
  read -r -d '' -a packages <<<"${groups[$group]}" || true
  for package in "${packages[@]}"; do
    probe=${package#*=}
    case $probe in
      /*) compgen -G "$probe" >/dev/null || missing+=("${package%%=*}") ;;
      *) command -v "$probe" >/dev/null || missing+=("${package%%=*}") ;;
    esac
  done
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if ! command -v apt-get >/dev/null; then
  die "this machine has no apt-get. Install by hand what these packages of Debian hold, then start again: ${missing[*]}"
fi
as_root=()
if [[ $(id -u) -ne 0 ]]; then
  command -v sudo >/dev/null ||
    die "not root, and no sudo. Have root say: apt-get update && apt-get install --no-install-recommends ${missing[*]}"
  as_root=(sudo)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1 && return
  tail -n 20 "$log" >&2
  die "apt-get $1 failed, see above"
}

say "installing ${missing[*]}"
apt update
apt install --no-install-recommends "${missing[@]}"
say "installed, $SECONDS s"
