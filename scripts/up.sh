#!/usr/bin/env bash
# Three nodes on this machine, to try Halite: builds it, makes certificates, starts and watches the
# nodes under run/, and takes everything down again on Ctrl-C. `up.sh clean` only takes down.
# A node that ends, or is killed, is started again after a while, as a pod would be.
# On each node's mount a nebulagc-server runs, and HAProxy before the three where it is installed.
#
# Ports: 20211-20213 (HTTP), 20311-20313 (node to node), 20411-20413 (servers) and 20410 (HAProxy), on
# loopback; HALITE_UP_PORT moves them (20210 by default). HALITE_UP_BUILD=debug uses the debug build.
# HALITE_UP_BIN names a directory with halite and nebulagc-server, ready to be used: then nothing is built or installed.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
run=$root/run
nodes=(1 2 3)
port=${HALITE_UP_PORT:-20210}
build=${HALITE_UP_BUILD:-release}
ready_seconds=60
stop_seconds=20
restart_seconds=10
watcher=

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "up: $*"
  exit 1
}
for part in processes nodes servers text; do . "scripts/up/$part.sh"; done

if [[ ${1:-} == clean ]]; then
  clean_leftovers
  rm -rf "$run"
  exit 0
fi

if [[ -n ${HALITE_UP_BIN:-} ]]; then
  bin=$(cd "$HALITE_UP_BIN" && pwd)
else
  scripts/install-packages.sh
  say "up: building ($build; the first time this takes some minutes)"
  swift build -c "$build" --product halite
  swift build -c "$build" --product nebulagc-server
  bin=$(swift build -c "$build" --show-bin-path)
fi
halite=$bin/halite
server=$bin/nebulagc-server
for program in "$halite" "$server"; do
  [[ -x $program ]] || fail "there is no $program"
done

mkdir -p "$run"
ln -sfn "$halite" "$run/halite"
ln -sfn "$server" "$run/nebulagc-server"
clean_leftovers
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

make_certificates
make_secret
cp deploy/haproxy/haproxy.cfg "$run/haproxy.cfg"
for node in "${nodes[@]}"; do
  write_configuration "$node"
  write_settings "$node"
  : >"$run/node$node/log"
  : >"$run/node$node/server.log"
done
for node in "${nodes[@]}"; do start_node "$node"; done
for node in "${nodes[@]}"; do wait_until_ready "$node"; done
for node in "${nodes[@]}"; do start_server "$node"; done
for node in "${nodes[@]}"; do
  wait_until_healthy "server$node" "$(server_url "$node")/health" "$run/node$node/server.log"
done
make_demo
. "$run/admin.env"

if command -v haproxy >/dev/null; then
  : >"$run/balancer.log"
  start_balancer
  api=http://127.0.0.1:$((port + 200))
  wait_until_healthy "the balancer" "$api/health" "$run/balancer.log"
  where="balancer     $api   (HAProxy: writes to the master, reads to all)"
else
  api=$(server_url 1)
  where="no balancer, since haproxy is not installed; each of the three also takes writes"
fi

show_nodes
show_servers "$where"
say
say "Logs: run/node1/log, run/node1/server.log, … Ctrl-C stops everything."
say

if [[ -t 1 ]]; then
  "$halite" status --watch --config "$run/node1/halite.yml" &
else
  "$halite" status --config "$run/node1/halite.yml"
fi
[[ -t 1 ]] && watcher=$!
watch_all
say "up: no node is left; see run/node*/log"
exit 1
