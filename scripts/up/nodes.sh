# Sourced by up.sh: the nodes of Halite.

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
  start "node$1" "$run/node$1/log" "$halite" mount --config "$run/node$1/halite.yml"
}

is_ready() {
  local answer
  answer=$("$halite" status --json --config "$run/node$1/halite.yml" 2>/dev/null || true)
  [[ $answer == *'"ready":true'* ]]
}

wait_until_ready() {
  local node=$1 deadline=$((SECONDS + ready_seconds))
  while ((SECONDS < deadline)); do
    is_ready "$node" && return 0
    kill -0 "${started[node$node]}" 2>/dev/null || break
    sleep 0.2
  done
  say "up: node$node did not become ready; the end of $run/node$node/log:"
  tail -n 20 "$run/node$node/log" >&2 || true
  exit 1
}
