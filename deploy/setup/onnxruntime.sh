#!/usr/bin/env bash
# usage: deploy/setup/onnxruntime.sh [--help]
#
# Makes sure that ONNX Runtime's shared library is there, and prints its path.
#
# It is taken, once, out of the npm package that the ONNX Runtime project
# publishes: the one file that is needed, checked against its known sum. None
# of the package's scripts is run.
#
#   ORT_LIBRARY=PATH         use this library instead; nothing is downloaded
#   DETECTIONS_CACHE=FOLDER  the cache (default ~/.cache/detections)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/lib.sh"

version=1.30.0
declare -A sums=(
  [x64]=ffb75a925ba05e47b235bb66e3e3911714a80b328a9c9425539feb204aa32a23
  [arm64]=1f549d46250b005580b597f4164984aaf75b3bcb9f3aeb07c7f8a8fe60b23c76
)

case "${1:-}" in
  '') ;;
  -h | --help) usage && exit ;;
  *) die "unknown argument $1; see --help" ;;
esac
if [[ -n ${ORT_LIBRARY:-} ]]; then
  [[ -f $ORT_LIBRARY ]] || die "ORT_LIBRARY is $ORT_LIBRARY, and there is no such file"
  realpath "$ORT_LIBRARY"
  exit
fi

cpu=$(machine)
folder=$(cache_root)/onnxruntime-$version-$cpu
library=$folder/libonnxruntime.so
if [[ ! -f $library ]]; then
  lock onnxruntime
  if [[ ! -f $library ]]; then # another run may have got it meanwhile
    command -v npm >/dev/null || die "npm is needed to get ONNX Runtime; or say where its library is with ORT_LIBRARY=PATH"
    work=$(mktemp -d "$(cache_root)/onnxruntime-get.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    say "getting ONNX Runtime $version (110 MB, of which one library is kept)"
    (cd "$work" && npm pack --ignore-scripts --silent "onnxruntime-node@$version" >/dev/null) ||
      die "npm could not get onnxruntime-node@$version; get the library elsewhere and say ORT_LIBRARY=PATH"
    tar --extract --gzip --to-stdout --file "$work/onnxruntime-node-$version.tgz" \
      "package/bin/napi-v6/linux/$cpu/libonnxruntime.so.1" >"$work/library"
    sum=$(sha256 "$work/library")
    [[ $sum == "${sums[$cpu]}" ]] || die "ONNX Runtime's library is not the expected one: its sha256 is $sum, not ${sums[$cpu]}"
    chmod 755 "$work/library"
    mkdir -p "$folder"
    mv "$work/library" "$library"
    say "ONNX Runtime $version is in $library, $SECONDS s"
  fi
fi
echo "$library"
