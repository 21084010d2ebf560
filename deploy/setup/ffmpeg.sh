#!/usr/bin/env bash
# usage: deploy/setup/ffmpeg.sh [--help]
#
# Makes sure that FFmpeg's libraries are there to build against, and prints
# their prefix: PKG_CONFIG_PATH is PREFIX/lib/pkgconfig.
#
# FFmpeg is built from source, static, with only the demuxers and decoders that
# the program uses and with no way to open a file or a connection by itself.
# It is built once, into the cache, and again only when its version, its
# options or the way it is built change.
#
#   FFMPEG=system            use the machine's own FFmpeg 7.x libraries instead
#   FFMPEG_TARBALL=PATH      take this release tarball; nothing is downloaded
#   FFMPEG_SHA256=SUM        accept only a tarball of this sum
#   DEBIAN_MIRROR=URL        the Debian mirror to ask, if apt's own is not one
#   DAV1D_TARBALL=PATH       the same for dav1d, which decodes AV1; see dav1d.sh
#   DETECTIONS_CACHE=FOLDER  the cache (default ~/.cache/detections)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/lib.sh"
# shellcheck source=deploy/setup/source.sh
. "$here/source.sh"

version=7.1.5
# The tarballs that are accepted: a release's own, and Debian's (.orig), where
# Debian repacked it. A new point release is one more line here, and `version`.
accepted=(
  de668509caf9e35e3cd162473441fdb29538c6d96ed080292b3cf9e6fc5d558f # 7.1.5, released = Debian's .orig
)

options=(
  --disable-everything --disable-autodetect --disable-network --disable-iconv
  --disable-programs --disable-doc --disable-debug
  --disable-shared --enable-static --enable-pic
  # Bytes come from our own readers: no protocol at all, not even file.
  --disable-protocols --disable-hwaccels --disable-devices --disable-filters
  # Libraries from outside.
  --enable-zlib --enable-libdav1d
)
demuxers=(
  mov mpegts matroska mpegps avi flv ivf obu h264 hevc mjpeg
  mpegvideo m4v # for mpegps, which recognises what it carries by them
)
decoders=(
  h264 hevc vp8 vp9 mpeg4 mpeg2video mpeg1video msmpeg4v3 cinepak
  libdav1d mjpeg png webp bmp gif
)
parsers=(h264 hevc vp8 vp9 av1 mpeg4video mpegvideo mjpeg png webp bmp gif)
bsfs=(
  h264_mp4toannexb hevc_mp4toannexb extract_extradata
  vp9_superframe_split av1_frame_merge mpeg4_unpack_bframes
)

# join KIND NAME... prints configure's option for these parts.
join() {
  local kind=$1 IFS=,
  shift
  printf -- '--enable-%s=%s\n' "$kind" "$*"
}

system_libraries() {
  local found
  command -v pkg-config >/dev/null || die "FFMPEG=system needs pkg-config"
  found=$(pkg-config --modversion libavcodec 2>/dev/null) ||
    die "FFMPEG=system, and pkg-config finds no libavcodec. Install the libav*-dev packages, or unset FFMPEG to build it"
  [[ $found == 61.* ]] ||
    die "FFMPEG=system, and libavcodec is $found; FFmpeg 7.x (libavcodec 61) is needed. Unset FFMPEG to build it"
  pkg-config --exists libavcodec libavdevice libavfilter libavformat libswresample libswscale libavutil ||
    die "FFMPEG=system, and some of its libraries' -dev packages are missing"
  pkg-config --variable=prefix libavcodec
}

# compile leaves the libraries in $work/root/ffmpeg. They are configured for a
# made-up prefix, so that no path of this machine ends up in the program, and
# their .pc files find themselves.
compile() {
  cd "$work/source"
  export PKG_CONFIG_PATH=$dav1d/lib/pkgconfig
  logged ./configure --prefix=/ffmpeg --pkg-config-flags=--static "${options[@]}"
  logged make "-j$(nproc)"
  logged make install DESTDIR="$work/root"
  rm -rf "$work/root/ffmpeg/share"
  # dav1d moves in, and zlib goes by its archive: what is built does not depend
  # on another folder, nor the program on the machine's zlib.
  cp "$dav1d/lib/libdav1d.a" "$work/root/ffmpeg/lib/"
  # shellcheck disable=SC2016 # ${…} here is pkg-config's
  sed -i -e "s|-L[^ ]*/dav1d-[^ ]*||g" -e '1s|=.*|=${pcfiledir}/../..|' -e 's|/ffmpeg/|${prefix}/|' -e 's/-lz\b/-l:libz.a/g' \
    "$work"/root/ffmpeg/lib/pkgconfig/*.pc
}

case "${1:-}" in
  '') ;;
  -h | --help) usage && exit ;;
  *) die "unknown argument $1; see --help" ;;
esac
case "${FFMPEG:-}" in
  '') ;;
  system) system_libraries && exit ;;
  *) die "FFMPEG is '$FFMPEG'; it can be 'system' or unset" ;;
esac

options+=(
  "$(join demuxer "${demuxers[@]}")" "$(join decoder "${decoders[@]}")"
  "$(join parser "${parsers[@]}")" "$(join bsf "${bsfs[@]}")"
)
dav1d=$("$here/dav1d.sh")
key=$(printf '%s\n' "$version" "${dav1d##*/}" "${options[@]}" "${FFMPEG_SHA256:-}" "$(declare -f compile)" | sha256sum | cut -c 1-12)
prefix=$(cache_root)/ffmpeg-$version-$(machine)-$key

if [[ ! -f $prefix/lib/pkgconfig/libavcodec.pc ]]; then
  lock ffmpeg
  if [[ ! -f $prefix/lib/pkgconfig/libavcodec.pc ]]; then # another run may have built it meanwhile
    work=$(mktemp -d "$(cache_root)/ffmpeg-build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    log=$(cache_root)/ffmpeg-build.log
    : >"$log"
    get_source ffmpeg "https://ffmpeg.org/releases/ffmpeg-$version.tar.xz" "${FFMPEG_TARBALL:-}" "${FFMPEG_SHA256:-${accepted[*]}}"
    say "building FFmpeg $version, about three minutes on two cores (here: $(nproc)); its output goes to $log"
    heartbeat $$ '^(CC|X86ASM|AS)' >/dev/null 9>&- &
    (compile)
    kill $!
    mv "$work/root/ffmpeg" "$prefix"
    say "FFmpeg $version is built, $SECONDS s, $(du -sh "$prefix" | cut -f 1) in $prefix"
  fi
fi
echo "$prefix"
