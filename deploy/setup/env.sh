#!/usr/bin/env bash
# usage: deploy/setup/env.sh [--test] [COMMAND...]
#
# Runs the command with the environment that building and running takes: the Go
# to use, FFmpeg's libraries, ONNX Runtime's library, and with --test the test
# media and what the printed clients need. What is not there yet is made first. Without a command it prints the
# environment, for a shell:
#
#   eval "$(deploy/setup/env.sh --test)"
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/lib.sh"

media=
clients=
case "${1:-}" in
  -h | --help) usage && exit ;;
  --test)
    media=$("$here/testmedia.sh")
    clients=$("$here/testclients.sh")
    shift
    ;;
  -*) die "unknown argument $1; see --help" ;;
esac

go=$("$here/go.sh")
ffmpeg=$("$here/ffmpeg.sh")
ort=$("$here/onnxruntime.sh")
set_up=(
  PATH="${go%/*}:$PATH"
  PKG_CONFIG_PATH="$ffmpeg/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
  # Go's build cache does not see that pkg-config answers differently now: another
  # FFmpeg needs another flag, or the old one stays linked.
  CGO_CPPFLAGS="-DDETECTIONS_FFMPEG_${ffmpeg##*-}${CGO_CPPFLAGS:+ $CGO_CPPFLAGS}"
  ORT_LIBRARY="$ort"
  ${media:+DETECTIONS_TEST_MEDIA="$media"}
  ${clients:+DETECTIONS_TEST_CLIENTS="$clients"}
)
if [[ $# -gt 0 ]]; then
  exec env "${set_up[@]}" "$@"
fi
for variable in "${set_up[@]}"; do
  printf 'export %s=%q\n' "${variable%%=*}" "${variable#*=}"
done
