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
#   DETECTIONS_CACHE=FOLDER  the cache (default ~/.cache/detections)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/lib.sh"

version=7.1.5
# The tarballs that are accepted: a release's own, and Debian's (.orig), where
# Debian repacked it. A new point release is one more line here, and `version`.
accepted=(
  de668509caf9e35e3cd162473441fdb29538c6d96ed080292b3cf9e6fc5d558f # 7.1.5, released = Debian's .orig
)
suite=trixie # the Debian suite that has the 7.1 series

options=(
  --disable-everything --disable-autodetect --disable-network --disable-iconv
  --disable-programs --disable-doc --disable-debug
  --disable-shared --enable-static --enable-pic
  # Bytes come from our own readers: no protocol at all, not even file.
  --disable-protocols --disable-hwaccels --disable-devices --disable-filters
  # Libraries from outside. Next one: libdav1d, with the decoder of that name.
  --enable-zlib
)
demuxers=(
  mov mpegts matroska mpegps avi flv ivf obu h264 hevc mjpeg gif
  image_jpeg_pipe image_png_pipe image_webp_pipe image_bmp_pipe
)
decoders=(
  h264 hevc vp8 vp9 mpeg4 mpeg2video mpeg1video msmpeg4v3 cinepak
  mjpeg png webp bmp gif
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

# known FILE says whether the file is one of the accepted tarballs.
known() {
  local sum
  sum=$(sha256 "$1")
  [[ " ${FFMPEG_SHA256:-${accepted[*]}} " == *" $sum "* ]]
}

from_ffmpeg_org() {
  local url=https://ffmpeg.org/releases/ffmpeg-$version.tar.xz
  command -v curl >/dev/null || return 1
  curl --fail --silent --location --connect-timeout 4 --max-time 300 --output "$1" "$url" || {
    say "$url does not answer"
    return 1
  }
}

# The Debian mirror that this machine's apt uses for its own release.
debian_mirror() {
  local id codename
  [[ -z ${DEBIAN_MIRROR:-} ]] || { echo "$DEBIAN_MIRROR" && return; }
  # shellcheck disable=SC1091
  { read -r id && read -r codename; } < <(. /etc/os-release && printf '%s\n' "${ID:-}" "${VERSION_CODENAME:-}")
  [[ $id == debian ]] || return 0
  # shellcheck disable=SC2016 # $(…) here is apt's own notation
  apt-get indextargets --format '$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)' |
    awk -v r="$codename" '$1 == "Packages" && $2 == r && $3 == "main" { print $4; exit }'
}

# from_debian FILE gets the release tarball out of Debian's source package, with
# lists and a cache of its own: apt's state on this machine is left alone.
from_debian() {
  local apt=$work/apt mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  command -v apt-get >/dev/null || return 1
  mirror=$(debian_mirror)
  if [[ -z $mirror ]]; then
    say "apt on this machine has no Debian mirror; DEBIAN_MIRROR=URL would name one"
    return 1
  fi
  say "taking it from Debian's source package instead"
  mkdir -p "$apt"/{lists/partial,cache/archives/partial,got}
  echo "deb-src $([[ -f $keyring ]] && echo "[signed-by=$keyring]") $mirror $suite main" >"$apt/sources.list"
  local own=(
    -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache"
    -o APT::Sandbox::User="$(id -un)" -o APT::Update::Error-Mode=any -o Acquire::http::Timeout=20 -qq
  )
  if ! (apt-get "${own[@]}" update && cd "$apt/got" &&
    apt-get "${own[@]}" source --download-only --tar-only ffmpeg) >>"$log" 2>&1; then
    tail -n 5 "$log" >&2
    return 1
  fi
  mv "$apt"/got/ffmpeg_*.orig.tar.xz "$1"
}

get_source() {
  local file=$work/source.tar.xz origin
  if [[ -n ${FFMPEG_TARBALL:-} ]]; then
    origin=$FFMPEG_TARBALL
    [[ -f $origin ]] || die "FFMPEG_TARBALL is $origin, and there is no such file"
    cp "$origin" "$file"
  else
    origin="the FFmpeg project"
    say "getting FFmpeg $version's source"
    if ! from_ffmpeg_org "$file"; then
      origin="Debian ($suite)"
      from_debian "$file" || die "FFmpeg's source could not be got. Download ffmpeg-$version.tar.xz by hand and say FFMPEG_TARBALL=PATH"
    fi
  fi
  known "$file" || die "the tarball from $origin is not one this script accepts: its sha256 is $(sha256 "$file").
  If it is a newer 7.1 release that you trust, add its sum at the top of deploy/setup/ffmpeg.sh
  or say FFMPEG_SHA256=SUM; otherwise get ffmpeg-$version.tar.xz elsewhere and say FFMPEG_TARBALL=PATH"
  mkdir "$work/source"
  tar --extract --xz --file "$file" --directory "$work/source" --strip-components 1
}

# logged COMMAND... runs it with its output in the log, and shows the log's end
# if it fails.
logged() {
  "$@" >>"$log" 2>&1 || {
    tail -n 30 "$log" >&2
    die "the FFmpeg build failed in ${1##*/}; all of its output is in $log"
  }
}

# heartbeat PID tells every half minute that the build goes on, while PID does.
heartbeat() {
  local next=$((SECONDS + 30))
  while sleep 1 && kill -0 "$1" 2>/dev/null; do
    ((SECONDS >= next)) || continue
    say "still building, $SECONDS s, $(grep -cE '^(CC|X86ASM|AS)' "$log" || true) files compiled"
    next=$((SECONDS + 30))
  done
}

# compile leaves the libraries in $work/root/ffmpeg. They are configured for a
# made-up prefix, so that no path of this machine ends up in the program, and
# their .pc files find themselves.
compile() {
  cd "$work/source"
  logged ./configure --prefix=/ffmpeg --pkg-config-flags=--static "${options[@]}"
  logged make "-j$(nproc)"
  logged make install DESTDIR="$work/root"
  rm -rf "$work/root/ffmpeg/share"
  # zlib by its archive, so that the program does not depend on the machine's.
  # shellcheck disable=SC2016 # ${…} here is pkg-config's
  sed -i -e '1s|=.*|=${pcfiledir}/../..|' -e 's|/ffmpeg/|${prefix}/|' -e 's/-lz\b/-l:libz.a/g' \
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
key=$(printf '%s\n' "$version" "${options[@]}" "${FFMPEG_SHA256:-}" "$(declare -f compile)" | sha256sum | cut -c 1-12)
prefix=$(cache_root)/ffmpeg-$version-$(machine)-$key

if [[ ! -f $prefix/lib/pkgconfig/libavcodec.pc ]]; then
  lock ffmpeg
  if [[ ! -f $prefix/lib/pkgconfig/libavcodec.pc ]]; then # another run may have built it meanwhile
    work=$(mktemp -d "$(cache_root)/ffmpeg-build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    log=$(cache_root)/ffmpeg-build.log
    : >"$log"
    get_source
    say "building FFmpeg $version, about three minutes on two cores (here: $(nproc)); its output goes to $log"
    heartbeat $$ >/dev/null 9>&- &
    (compile)
    kill $!
    mv "$work/root/ffmpeg" "$prefix"
    say "FFmpeg $version is built, $SECONDS s, $(du -sh "$prefix" | cut -f 1) in $prefix"
  fi
fi
echo "$prefix"
