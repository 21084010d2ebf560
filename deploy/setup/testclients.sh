#!/usr/bin/env bash
# usage: deploy/setup/testclients.sh [--help]
#
# Makes sure that the WebSocket library of the printed JavaScript client is there,
# and prints the folder whose node_modules has it.
#
#   DETECTIONS_CACHE=FOLDER  the cache (default ~/.cache/detections)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/lib.sh"

version=8.18.3

case "${1:-}" in
  '') ;;
  -h | --help) usage && exit ;;
  *) die "unknown argument $1; see --help" ;;
esac

folder=$(cache_root)/clients-ws-$version
if [[ ! -d $folder/node_modules/ws ]]; then
  lock clients
  mkdir -p "$folder"
  say "getting the npm package ws $version for the JavaScript client"
  npm install --silent --no-save --ignore-scripts --prefix "$folder" "ws@$version" >&2 ||
    die "npm could not get ws@$version"
fi
echo "$folder"
