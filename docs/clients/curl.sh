#!/usr/bin/env bash
# usage: curl.sh URL VIDEO PICTURE
set -euo pipefail
url=$1 video=$2 picture=$3

# A video: one line of JSON for each frame, two frames a second, people only.
curl -sS -N -T "$video" -H 'Accept: application/x-ndjson' "$url/detect/video?fps=2&labels=person"

# A picture: everything in it that is at least 60 % certain.
curl -sS --data-binary "@$picture" "$url/detect?threshold=0.6"
