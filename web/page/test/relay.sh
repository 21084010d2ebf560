#!/usr/bin/env bash
# By hand: a browser that reaches nothing of the hub but its web server publishes over a
# TURN server. Between two network namespaces there are only Debian's coturn and a proxy
# for TCP; the browser says which way its media went. Takes root, coturn and socat.
#
#   make build setup-test && deploy/setup/env.sh --test web/page/test/relay.sh [udp|tcp]
set -euo pipefail

cd "$(dirname "$0")"
program=$(realpath "${DETECTIONS_BINARY:-../../../bin/detections}")
tmp=$(mktemp -d)
pids=()
within() { ip netns exec "relay-$1" "${@:2}"; }
begin() {
  ip netns exec "relay-$1" "${@:3}" > "$tmp/$2.log" 2>&1 &
  pids+=($!)
}
finish() {
  kill -9 "${pids[@]}" 2> /dev/null || true
  wait 2> /dev/null || true
  for n in hub mid cam; do ip netns del "relay-$n" || true; done
  rm -rf "$tmp"
}
trap finish EXIT

for n in hub mid cam; do
  ip netns add "relay-$n"
  ip -n "relay-$n" link set lo up
done
for n in hub cam; do
  net=10.91.$([ "$n" = hub ] && echo 2 || echo 1)
  ip -n relay-mid link add "to-$n" type veth peer name eth0 netns "relay-$n"
  ip -n relay-mid addr add "$net.1/24" dev "to-$n"
  ip -n relay-mid link set "to-$n" up
  ip -n "relay-$n" addr add "$net.2/24" dev eth0
  ip -n "relay-$n" link set eth0 up
done
within mid sysctl -qw net.ipv4.ip_forward=0

begin mid turn turnserver -n --no-cli --lt-cred-mech --realm detections --user cam:secret --listening-ip 10.91.1.1 --relay-ip 10.91.2.1 --no-tls --no-dtls --log-file stdout --pidfile "$tmp/pid"
begin mid proxy socat TCP-LISTEN:8080,bind=10.91.1.1,fork,reuseaddr TCP:10.91.2.2:8080
begin hub hub "$program" serve --listen 10.91.2.2:8080 --auth none --data "$tmp/data" --providers cpu --ort-library "$ORT_LIBRARY" \
  --rtc-ice-server "turn:10.91.1.1:3478?transport=${1:-udp}" --rtc-turn-user cam --rtc-turn-credential secret
within cam timeout 90 node relay.mjs http://10.91.1.1:8080 || { cat "$tmp/hub.log" "$tmp/turn.log"; exit 1; }
