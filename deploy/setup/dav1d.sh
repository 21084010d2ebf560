#!/usr/bin/env bash
# usage: deploy/setup/dav1d.sh [--help]
#
# Makes sure that dav1d's static library, FFmpeg's decoder for AV1, is there to
# build against, and prints its prefix. Debian's package has the shared one only.
# It is built once, into the cache, by ffmpeg.sh.
#
#   DAV1D_TARBALL=PATH       take this release tarball; nothing is downloaded
#   DAV1D_SHA256=SUM         accept only a tarball of this sum
#   DEBIAN_MIRROR=URL        the Debian mirror to ask, if apt's own is not one
#   DETECTIONS_CACHE=FOLDER  the cache (default ~/.cache/detections)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/lib.sh"
# shellcheck source=deploy/setup/source.sh
. "$here/source.sh"

version=1.5.1
accepted=(
  401813f1f89fa8fd4295805aa5284d9aed9bc7fc1fdbe554af4292f64cbabe21 # 1.5.1, released = Debian's .orig
)

# compile leaves the library in $work/root/dav1d, for a made-up prefix.
compile() {
  cd "$work/source"
  logged meson setup --prefix=/dav1d --libdir=lib --buildtype=release --default-library=static \
    -Db_staticpic=true -Denable_tools=false -Denable_tests=false build
  DESTDIR="$work/root" logged ninja -C build install
  # shellcheck disable=SC2016 # ${…} here is pkg-config's
  sed -i '1s|=.*|=${pcfiledir}/../..|' "$work"/root/dav1d/lib/pkgconfig/dav1d.pc
}

case "${1:-}" in
  '') ;;
  -h | --help) usage && exit ;;
  *) die "unknown argument $1; see --help" ;;
esac

key=$(printf '%s\n' "$version" "${DAV1D_SHA256:-}" "$(declare -f compile)" | sha256sum | cut -c 1-12)
prefix=$(cache_root)/dav1d-$version-$(machine)-$key

if [[ ! -f $prefix/lib/libdav1d.a ]]; then
  lock dav1d
  if [[ ! -f $prefix/lib/libdav1d.a ]]; then # another run may have built it meanwhile
    work=$(mktemp -d "$(cache_root)/dav1d-build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    log=$(cache_root)/dav1d-build.log
    : >"$log"
    get_source dav1d "https://downloads.videolan.org/pub/videolan/dav1d/$version/dav1d-$version.tar.xz" \
      "${DAV1D_TARBALL:-}" "${DAV1D_SHA256:-${accepted[*]}}"
    say "building dav1d $version; its output goes to $log"
    (compile)
    mv "$work/root/dav1d" "$prefix"
    say "dav1d $version is built, $SECONDS s, in $prefix"
  fi
fi
echo "$prefix"
