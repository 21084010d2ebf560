#!/usr/bin/env bash
# usage: make docs-dashboard
#
# Draws docs/dashboard.svg anew: a hub under a load of two minutes, a Prometheus that scrapes
# it, and what the panels of the dashboard show of that. A restart is in the middle of it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
media=${DETECTIONS_TEST_MEDIA:?say: make docs-dashboard}
export PATH=$root/bin:$PATH DETECTIONS_HUB=http://127.0.0.1:18080

serve() {
  detections serve --listen 127.0.0.1:18080 --rtc-listen off --data "$work/data" --log-format json "$@" 2>>"$work/log" &
  pids+=($!)
}

cat >"$work/prometheus.yml" <<EOF
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [$root/deploy/monitoring/alerts.yml]
scrape_configs: [{job_name: detections, static_configs: [{targets: ['127.0.0.1:18080']}]}]
EOF
serve
until detections health >/dev/null 2>&1; do kill -0 "${pids[0]}" && sleep 0.2; done
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.listen-address=127.0.0.1:19090 2>"$work/prometheus.log" &
pids+=($!)

# Clients: files, pictures, now and then something that is no video.
again() { while :; do "$@" >/dev/null 2>&1 || true; done; }
again detections detect --every 2 "$media/people.mp4" &
pids+=($!)
sleep 20
again detections detect --fps 4 --track "$media/people-long.mp4" &
pids+=($!)
again bash -c "curl -sF 'file=@$media/frame.jpg' $DETECTIONS_HUB/detect; sleep 0.3" &
pids+=($!)
sleep 30
again bash -c "curl -sT '$media/text.txt' $DETECTIONS_HUB/detect/video; sleep 2" &
pids+=($!)
serve --takeover
sleep 60
(cd "$root" && go run ./deploy/monitoring/picture --prometheus http://127.0.0.1:19090) >"$work/dashboard.svg"
mv "$work/dashboard.svg" "$root/docs/dashboard.svg"
