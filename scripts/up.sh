#!/usr/bin/env bash
# Three nodes on this machine, to try Halite: builds it, makes certificates, starts and watches the
# nodes under run/, and takes everything down again on Ctrl-C. `up.sh clean` only takes down.
# A node that ends, or is killed, is started again after a while, as a pod would be.
#
# Ports: 20211-20213 (HTTP) and 20311-20313 (node to node), on loopback; HALITE_UP_PORT moves them
# (20210 by default). HALITE_UP_BUILD=debug uses the debug build.
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
# Node to process, node to the time of its start, and the process that counts a pause to a node.
declare -A started=() begun=() pauses=()
watcher=

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "up: $*"
  exit 1
}

is_mounted() {
  # The kernel's list, since looking at a dead mount itself may fail or hang.
  local path wanted=${1// /\\040}
  while read -r _ _ _ _ path _; do
    [[ $path == "$wanted" ]] && return 0
  done </proc/self/mountinfo
  return 1
}

unmount() {
  is_mounted "$1" || return 0
  fusermount3 -u -z "$1" 2>/dev/null || umount -l "$1" 2>/dev/null || true
  ! is_mounted "$1" || fail "$1 cannot be unmounted; try: sudo umount -l $1"
}

# Whether a process is a node of this directory, and not one that got its number later.
is_node() {
  local pid=$1 node=$2 arguments
  [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
  arguments=$({ tr "\0" " " <"/proc/$pid/cmdline"; } 2>/dev/null) || return 1
  [[ $arguments == *"halite mount --config $run/node$node/halite.yml "* ]]
}

# Ends nodes, given as number=process: asks, waits, then kills.
stop_nodes() {
  local pair pid node deadline=$((SECONDS + stop_seconds)) alive
  for pair in "$@"; do
    is_node "${pair#*=}" "${pair%%=*}" && kill -TERM "${pair#*=}" 2>/dev/null
  done
  while ((SECONDS < deadline)); do
    alive=0
    for pair in "$@"; do is_node "${pair#*=}" "${pair%%=*}" && alive=1; done
    ((alive)) || break
    sleep 0.1
  done
  for pair in "$@"; do
    pid=${pair#*=} node=${pair%%=*}
    if is_node "$pid" "$node"; then
      say "up: node$node does not stop; killing it"
      kill -KILL "$pid" 2>/dev/null || true
    fi
    unmount "$run/node$node/mnt"
    rm -f "$run/node$node/pid"
  done
}

# What an earlier run left that could not clean up itself.
clean_leftovers() {
  local node pid left=()
  for node in "${nodes[@]}"; do
    pid=$(cat "$run/node$node/pid" 2>/dev/null || true)
    left+=("$node=${pid:-none}")
  done
  stop_nodes "${left[@]}"
}

cleanup() {
  local code=$? node pid pairs=()
  # A second Ctrl-C must not leave nodes behind.
  trap '' INT TERM HUP
  trap - EXIT
  set +e
  for pid in $watcher "${!pauses[@]}"; do kill "$pid" 2>/dev/null; done
  if ((${#begun[@]})); then
    say
    say "up: stopping the nodes"
    # Replicas first, so that none of them complains about the primary.
    for node in $(printf '%s\n' "${!begun[@]}" | sort -r); do
      pairs+=("$node=${started[$node]:-none}")
    done
    stop_nodes "${pairs[@]}"
  fi
  exit "$code"
}

peers() {
  local node list=()
  for node in "${nodes[@]}"; do list+=("node$node: \"127.0.0.1:$((port + 100 + node))\""); done
  (IFS=,; echo "${list[*]}")
}

write_configuration() {
  local node=$1 directory=$run/node$1
  mkdir -p "$directory/mnt" "$directory/data"
  chmod 700 "$directory/data"
  cat >"$directory/halite.yml" <<YAML
# Written by scripts/up.sh at each start.
fuse:        {dir: mnt}
data:        {dir: data}
http:        {addr: "127.0.0.1:$((port + node))"}
replication: {addr: "127.0.0.1:$((port + 100 + node))", advertise: "127.0.0.1:$((port + 100 + node))",
              tls: {ca: ../certs/ca.pem, cert: ../certs/node$node.pem, key: ../certs/node$node-key.pem}}
lease:       {type: quorum, hostname: node$node, priority: $((4 - node)), quorum: {peers: {$(peers)}}}
YAML
}

make_certificates() {
  [[ -e $run/certs/ca.pem ]] || "$halite" cert init --dir "$run/certs" >/dev/null
  local node
  for node in "${nodes[@]}"; do
    [[ -e $run/certs/node$node.pem ]] || "$halite" cert issue --dir "$run/certs" \
      --name "node$node" --host localhost --host 127.0.0.1 >/dev/null
  done
}

start_node() {
  local node=$1 directory=$run/node$1
  # A session of its own: Ctrl-C is for this script, which then stops the nodes in order.
  setsid "$halite" mount --config "$directory/halite.yml" </dev/null >>"$directory/log" 2>&1 &
  started[$node]=$!
  begun[$node]=$SECONDS
  echo "$!" >"$directory/pid"
}

wait_until_ready() {
  local node=$1 deadline=$((SECONDS + ready_seconds)) answer
  while ((SECONDS < deadline)); do
    answer=$("$halite" status --json --config "$run/node$node/halite.yml" 2>/dev/null || true)
    [[ $answer == *'"ready":true'* ]] && return 0
    kill -0 "${started[$node]}" 2>/dev/null || break
    sleep 0.2
  done
  say "up: node$node did not become ready; the end of $run/node$node/log:"
  tail -n 20 "$run/node$node/log" >&2 || true
  exit 1
}

# Says that a node has ended, and lets it begin again after a pause unless it could not begin.
note_end() {
  local node=$1 code=$2 how="has ended with exit code $2"
  if ((code > 128)); then
    how="was killed by signal $((code - 128))"
  elif ((SECONDS - begun[$node] < restart_seconds)); then
    say "up: node$node $how right after its start and is left alone; see run/node$node/log"
    return
  fi
  say "up: node$node $how; the others go on, and it starts again in $restart_seconds s"
  sleep "$restart_seconds" &
  pauses[$!]=$node
}

# Starts nodes again that end, until none is left.
watch_nodes() {
  local ended code node
  while ((${#started[@]} + ${#pauses[@]})); do
    code=0
    # In the background, since a signal is handled only between commands, or in `wait`.
    # Its own message about a node that was killed says less than ours.
    wait -n -p ended "${started[@]}" "${!pauses[@]}" 2>/dev/null || code=$?
    if [[ -n ${pauses[$ended]:-} ]]; then
      node=${pauses[$ended]}
      unset "pauses[$ended]"
      start_node "$node"
      say "up: node$node is started again"
      continue
    fi
    for node in "${!started[@]}"; do
      [[ ${started[$node]} == "$ended" ]] || continue
      unset "started[$node]"
      note_end "$node" "$code"
    done
  done
}

if [[ ${1:-} == clean ]]; then
  clean_leftovers
  rm -rf "$run"
  exit 0
fi

scripts/install-packages.sh
say "up: building ($build; the first time this takes some minutes)"
swift build -c "$build" --product halite
halite=$(swift build -c "$build" --show-bin-path)/halite

mkdir -p "$run"
ln -sfn "$halite" "$run/halite"
clean_leftovers
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

make_certificates
for node in "${nodes[@]}"; do
  write_configuration "$node"
  : >"$run/node$node/log"
done
for node in "${nodes[@]}"; do start_node "$node"; done
for node in "${nodes[@]}"; do wait_until_ready "$node"; done

cat >&2 <<TEXT

Three nodes are running and have elected a primary; these lines are for node1. In another terminal:

  cd $root
  run/halite promote --config run/node1/halite.yml                    # unless it is the primary already
  sqlite3 run/node1/mnt/app.db "PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES ('hello')"
  sqlite3 run/node2/mnt/app.db "SELECT * FROM t"                 # it is there
  sqlite3 run/node3/mnt/app.db "INSERT INTO t VALUES ('too')"    # node3 is a replica: by way of the primary
  cat run/node2/mnt/.primary run/node2/mnt/app.db-pos
  curl http://127.0.0.1:$((port + 2))/status                          # or open / in a browser
  run/halite export --config run/node3/halite.yml app.db copy.db

  kill -9 \$(cat run/node1/pid)          # another node takes over; it starts again $restart_seconds s later
  cat run/node3/mnt/.primary

Logs: run/node1/log, … Ctrl-C stops everything.

TEXT

if [[ -t 1 ]]; then
  "$halite" status --watch --config "$run/node1/halite.yml" &
else
  "$halite" status --config "$run/node1/halite.yml"
fi
[[ -t 1 ]] && watcher=$!
watch_nodes
say "up: no node is left; see run/node*/log"
exit 1
