#!/usr/bin/env bash
# deploy-test.sh [DIRECTORY]: checks what deploy/ holds with the programs that read it. HAProxy and nginx are run before servers that
# stand in for ours; dashboard and alerts are held against what two nodes and a server say. DIRECTORY has halite and nebulagc-server
# (.build/release or .build/debug without it).
set -euo pipefail
cd "$(dirname "$0")/.."

deploy=$PWD/deploy
scripts=$PWD/scripts/deploy
tools=$PWD/.build/deploy-tools
work=$(mktemp -d "${TMPDIR:-/tmp}/deploy-test.XXXXXX")
patience=20
pids=()

fail() {
  printf 'deploy-test: %s\n' "$*" >&2
  exit 1
}

# Ends what was started, last first, so that the server goes before its mount.
cleanup() {
  local code=$? index node deadline
  trap - EXIT
  trap '' INT TERM HUP
  set +e
  for ((index = ${#pids[@]} - 1; index >= 0; index--)); do
    kill -TERM "${pids[index]}" 2>/dev/null
    deadline=$((SECONDS + patience))
    while kill -0 "${pids[index]}" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.1; done
    kill -KILL "${pids[index]}" 2>/dev/null
    wait "${pids[index]}" 2>/dev/null
  done
  for node in 1 2; do
    ! grep -q " $work/node$node/mnt " /proc/self/mountinfo || umount -l "$work/node$node/mnt" ||
      fusermount3 -u -z "$work/node$node/mnt"
  done
  if ((code != 0)); then tail -n 20 "$work"/*.log "$work"/node*/log >&2 2>/dev/null; fi
  rm -rf --one-file-system "$work"
  exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

find_programs() {
  local program
  bin=$(scripts/binaries.sh "${1:-}")
  for program in haproxy nginx promtool curl python3; do
    command -v "$program" >/dev/null || fail "there is no $program; scripts/install-packages.sh installs it"
  done
}

check_prometheus() {
  promtool check rules "$deploy/prometheus/nebulagc.rules.yml" >"$work/promtool.log"
  promtool test rules "$deploy/prometheus/nebulagc.test.yml" >>"$work/promtool.log"
  echo "prometheus: the rules are in order, and their tests hold"
}

check_terraform() {
  if [[ ! -x $tools/bin/hcl2tojson ]]; then
    if ! { python3 -m venv "$tools" && "$tools/bin/pip" -q install 'python-hcl2==8.*'; } >"$work/pip.log" 2>&1; then
      fail "python-hcl2, which reads Terraform's files, cannot be installed: $(tail -1 "$work/pip.log")"
    fi
  fi
  "$tools/bin/python" - "$deploy"/aws/*.tf <<'PYTHON'
import re, sys, hcl2
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        text = file.read()
    hcl2.loads(text)
    declared = set(re.findall(r'^variable "(\w+)"', text, re.M))
    used = set(re.findall(r"\bvar\.(\w+)", text))
    blocks = {".".join(found) for found in re.findall(r'^resource "(\w+)" "(\w+)"', text, re.M)}
    named = set(re.findall(r"\b(aws_\w+\.\w+)(?:\[\d+\])?\.", text))
    for what, missing in (("variables", used ^ declared), ("resources", named - blocks)):
        if missing:
            sys.exit(f"{path}: {what} that are not declared, or not used: {sorted(missing)}")
PYTHON
  echo "terraform: the load balancer's description can be read, and names nothing that is not there"
}

# The units as they are, with programs that are there; a node's configuration with certificates, as each of the three.
check_systemd() {
  local directory=$work/systemd node unit
  mkdir "$directory"
  for unit in halite nebulagc-server; do
    sed "s|/usr/local/bin/|$bin/|" "$deploy/systemd/$unit.service" >"$directory/$unit.service"
  done
  if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify "$directory/halite.service" "$directory/nebulagc-server.service"
    echo "systemd: both units are in order"
  else
    fail "there is no systemd-analyze; scripts/install-packages.sh installs it"
  fi
  cp "$deploy/systemd/halite.yml" "$directory"
  "$bin/halite" cert init --dir "$directory" >/dev/null
  for node in node1 node2 node3; do
    "$bin/halite" cert issue --dir "$directory" --name "$node" --host "$node.example.org" >/dev/null
    HOSTNAME=$node "$bin/halite" config check --config "$directory/halite.yml" >/dev/null
  done
  echo "systemd: the example of halite.yml is taken"
}

free_ports() {
  python3 -c '
import socket
sockets = [socket.socket() for _ in range(6)]
for one in sockets: one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))'
}

start_node() {
  local node=$1 directory=$work/node$1
  mkdir -p "$directory/mnt" "$directory/data"
  cat >"$directory/halite.yml" <<YAML
fuse:        {dir: mnt}
data:        {dir: data}
http:        {addr: "127.0.0.1:${ports[node - 1]}"}
replication: {addr: "127.0.0.1:${ports[node + 1]}", advertise: "127.0.0.1:${ports[node + 1]}", tls: {insecure: true}}
lease:       {type: quorum, hostname: node$node, priority: $((3 - node)), quorum: {peers: {
              node1: "127.0.0.1:${ports[2]}", node2: "127.0.0.1:${ports[3]}", node3: "127.0.0.1:${ports[4]}"}}}
YAML
  "$bin/halite" mount --config "$directory/halite.yml" </dev/null >"$directory/log" 2>&1 &
  pids+=("$!")
}

wait_for() {
  local what=$1 deadline=$((SECONDS + patience))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "not within $patience s: $what"
    sleep 0.2
  done
}

# Two of three voters, so that one is elected and the other one is its replica, and a server on one of them.
check_metrics() {
  local node
  read -ra ports < <(free_ports)
  for node in 1 2; do start_node "$node"; done
  for node in 1 2; do
    wait_for "node$node is ready" curl -fsS -m 2 "http://127.0.0.1:${ports[node - 1]}/ready"
  done
  # With the example of its settings, of which an unknown one would be refused.
  "$bin/nebulagc-server" --env-file "$deploy/systemd/server.env" --secret 0123456789abcdef0123456789abcdef \
    --db "$work/node1/mnt/nebulagc.db" --listen "127.0.0.1:${ports[5]}" </dev/null >"$work/server.log" 2>&1 &
  pids+=("$!")
  wait_for "the server is healthy" curl -fsS -m 2 "http://127.0.0.1:${ports[5]}/health"
  for node in 1 2; do
    curl -fsS -m 5 "http://127.0.0.1:${ports[node - 1]}/metrics" >"$work/metrics$node"
  done
  curl -fsS -m 5 "http://127.0.0.1:${ports[5]}/metrics" >"$work/metrics3"
  python3 "$scripts/metrics.py" "$work"/metrics[123]
}

find_programs "${1:-}"
check_prometheus
check_terraform
check_systemd
for balancer in haproxy nginx; do
  mkdir "$work/$balancer"
  python3 "$scripts/balancers.py" "$balancer" "$work/$balancer"
done
check_metrics
echo "deploy-test: all of deploy/ is in order"
