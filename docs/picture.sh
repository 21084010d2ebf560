#!/usr/bin/env bash
# Makes docs/people.jpg: a frame of the sample clip with what a running hub finds in it.
# Usage: docs/picture.sh [URL of the hub]; needs ffmpeg, curl and jq.
set -euo pipefail
cd "$(dirname "$0")"
url=${1:-http://127.0.0.1:8080}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

ffmpeg -v error -y -ss 4 -i ../media/mediatest/testdata/people.mp4 -frames:v 1 "$tmp/frame.png"
curl -sS --fail-with-body --data-binary "@$tmp/frame.png" "$url/detect" >"$tmp/answer.json"
filter=$(jq -r '[.detections[] | . as $d
  | (if .label == "person" then "0x2E7D32" else "0x1565C0" end) as $color
  | "drawbox=x=\(.box[0]):y=\(.box[1]):w=\(.box[2]):h=\(.box[3]):color=\($color):t=2",
    "drawtext=font=Sans:fontsize=11:fontcolor=white:box=1:boxborderw=2:boxcolor=\($color):x=\(.box[0]):y=\(.box[1])-12:text=\(.confidence * 100 | round)"
  ] | join(",")' "$tmp/answer.json")
ffmpeg -v error -y -i "$tmp/frame.png" -vf "$filter" -q:v 3 people.jpg
jq -r '"\(.detections | length) objects, \(.model)"' "$tmp/answer.json"
