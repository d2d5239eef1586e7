# Sourced by up.sh: what can be tried.

show_nodes() {
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
TEXT
}

show_servers() {
  local where=$1 node
  cat >&2 <<TEXT

On each node's mount runs nebulagc-server, the control plane of Nebula networks:

$(for node in "${nodes[@]}"; do echo "  server$node      $(server_url "$node")"; done)
  $where
  token        $node_token   (of an administrator node; kept in run/admin.env)

  . run/admin.env; api=$api
  curl -H "X-NebulaGC-Node-Token: \$node_token" \$api/api/v1/nodes                  # list nodes
  curl -H "X-NebulaGC-Node-Token: \$node_token" -H 'Content-Type: application/json' \\
    -d '{"name":"laptop"}' \$api/api/v1/nodes                                      # add one
  for n in 1 2 3; do curl -s http://127.0.0.1:\$(($((port + 200)) + n))/health; echo; done
  for n in 1 2 3; do curl -s -o /dev/null -w "server\$n %{http_code}\n" http://127.0.0.1:\$(($((port + 200)) + n))/health/master; done   # 200: the master

  # Kill the master with its node, and write on: within seconds another one is the master.
  p=\$(for n in 1 2 3; do curl -fs -o /dev/null http://127.0.0.1:\$(($((port + 200)) + n))/health/master && echo \$n; done)
  kill -9 \$(cat run/node\$p/pid run/node\$p/server.pid)
  until curl -f -H "X-NebulaGC-Node-Token: \$node_token" -H 'Content-Type: application/json' \\
    -d '{"name":"phone"}' \$api/api/v1/nodes; do sleep 0.5; done
TEXT
}
