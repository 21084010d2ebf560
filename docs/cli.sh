#!/usr/bin/env bash
# Runs the commands of docs/cli.md again and writes what they print in their place.
# Usage: make build && docs/cli.sh [folder of the program]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
page=$root/docs/cli.md
work=$(mktemp -d)
trap 'kill "$hub" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

mkdir "$work/in" "$work/in/notes" "$work/models"
cp "$root/infer/loader/nanodet-g-416.onnx" "$work/models/people.onnx"
cp "$root/media/mediatest/testdata/people.mp4" "$work/in/"
cp "${DETECTIONS_TEST_MEDIA:?say: deploy/setup/env.sh --test docs/cli.sh}/frame.jpg" "$work/in/"
echo 'just some words' | tee "$work/in/notes.txt" > "$work/in/notes/todo.txt"

bin=${1:-$root/bin}
export PATH=$bin:$PATH DETECTIONS_HUB=http://127.0.0.1:18080
detections serve --listen 127.0.0.1:18080 --data "$work/data" 2> "$work/log" &
hub=$!
until detections health > /dev/null 2>&1; do kill -0 "$hub"; sleep 0.2; done

cd "$work/in"
console=0
while IFS= read -r line; do
	case $console,$line in
	0,'```console') console=1 ;;
	1,'```') console=0 ;;
	1,'$ '*)
		printf '%s\n' "$line"
		bash -c "${line#\$ }" 2>&1 | sed "s#$bin/#/opt/detections/#g" || true
		continue
		;;
	1,*) continue ;; # what it printed last time
	esac
	printf '%s\n' "$line"
done < "$page" > "$work/page"
cp "$work/page" "$page"
