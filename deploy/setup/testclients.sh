#!/usr/bin/env bash
# usage: deploy/setup/testclients.sh [--help]
#
# Makes sure that what the tests take from npm is there, and prints the folder whose
# node_modules has it: the WebSocket library of the printed JavaScript client, what
# drives a browser through the page and judges it for people who cannot see or point,
# and what checks the types of the page's modules.
#
#   DETECTIONS_CACHE=FOLDER  the cache (default ~/.cache/detections)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/setup/lib.sh
. "$here/lib.sh"

packages=(
  ws@8.18.3
  playwright-core@1.61.0 # drives the Chromium that is installed; brings none
  axe-core@4.14.1
  typescript@7.0.2
)

case "${1:-}" in
  '') ;;
  -h | --help) usage && exit ;;
  *) die "unknown argument $1; see --help" ;;
esac

folder=$(cache_root)/clients-$(printf '%s\n' "${packages[@]}" | sha256sum | cut -c 1-12)
if [[ ! -d $folder ]]; then
  lock clients
  if [[ ! -d $folder ]]; then # another run may have got them meanwhile
    work=$(mktemp -d "$(cache_root)/clients-get.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    say "getting the npm packages ${packages[*]}"
    npm install --silent --no-save --ignore-scripts --prefix "$work" "${packages[@]}" >&2 ||
      die "npm could not get ${packages[*]}"
    chmod 755 "$work"
    mv "$work" "$folder"
  fi
fi
echo "$folder"
