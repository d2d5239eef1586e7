# Sourced by up.sh: the control plane's servers on the nodes' mounts, and the balancer before them.

server_url() { echo "http://127.0.0.1:$((port + 200 + $1))"; }

# The key of all tokens' hashes: made once, since no token fits another one.
make_secret() {
  [[ -s $run/secret ]] || (umask 077 && openssl rand -hex 32 >"$run/secret")
}

# Settings in a file and not in the environment, so that commands on a shell find the same ones.
write_settings() {
  local node=$1
  (
    umask 077
    cat >"$run/node$node/server.env" <<ENV
# Written by scripts/up.sh at each start.
NEBULAGC_DB_PATH=$run/node$node/mnt/nebulagc.db
NEBULAGC_HMAC_SECRET=$(cat "$run/secret")
NEBULAGC_LISTEN_ADDR=127.0.0.1:$((port + 200 + node))
NEBULAGC_PUBLIC_URL=$(server_url "$node")
NEBULAGC_TRUSTED_PROXIES=127.0.0.1
ENV
  )
}

start_server() {
  start "server$1" "$run/node$1/server.log" "$server" --env-file "$run/node$1/server.env"
}

# A server whose node is gone has the files of a mount that will not come back. It has nothing to save that could be saved.
end_server_of() {
  local pid=${started[server$1]:-}
  [[ -z $pid ]] || kill -KILL "$pid" 2>/dev/null || true
}

start_balancer() {
  NEBULAGC_BIND=127.0.0.1:$((port + 200)) NEBULAGC_NODE1=127.0.0.1:$((port + 201)) \
    NEBULAGC_NODE2=127.0.0.1:$((port + 202)) NEBULAGC_NODE3=127.0.0.1:$((port + 203)) \
    start balancer "$run/balancer.log" haproxy -db -f "$run/haproxy.cfg"
}

# Starts something after its pause. A server waits for its node: in the bare directory it would make a database of its own.
begin_again() {
  local name=$1 node=${1#server}
  case $name in
    node*) start_node "${name#node}" ;;
    balancer) start_balancer ;;
    server*)
      if ! is_ready "$node"; then
        if [[ " ${!started[*]} ${pauses[*]} " == *" node$node "* ]]; then pause "$name" 1; fi
        return
      fi
      start_server "$node"
      ;;
  esac
  say "up: $name is started again"
}

wait_until_healthy() {
  local what=$1 url=$2 log=$3 deadline=$((SECONDS + ready_seconds))
  while ((SECONDS < deadline)); do
    curl -fsS -m 2 -o /dev/null "$url" 2>/dev/null && return 0
    sleep 0.2
  done
  say "up: $what did not become ready; the end of $log:"
  tail -n 20 "$log" >&2 || true
  exit 1
}

administer() { "$server" admin "$@" --env-file "$run/node1/server.env"; }

# A tenant and a cluster to try things with. Tokens are shown once: what is printed is kept, and used again.
make_demo() {
  local listed name=demo
  listed=$(administer list)
  if [[ -s $run/admin.env ]]; then
    (. "$run/admin.env" && [[ $listed == *"$cluster_id"* ]]) && return 0
  fi
  [[ $listed == *"  demo"* ]] || administer tenant demo >/dev/null
  # One whose token nobody has any more, of a run that was killed just then.
  [[ $listed != *"  demo  nodes="* ]] || name=demo-$(date +%s)
  (umask 077 && administer cluster "$name" --tenant demo >"$run/admin.env.new")
  mv "$run/admin.env.new" "$run/admin.env"
}
