# Sourced by up.sh: what runs is known by a name (node1, server1, balancer), and has a process and a file with its number.

# Name to process, name to the time of its start, and the process that counts a pause to a name.
declare -A started=() begun=() pauses=()

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

pid_file() {
  case $1 in
    node*) echo "$run/$1/pid" ;;
    server*) echo "$run/node${1#server}/server.pid" ;;
    balancer) echo "$run/balancer.pid" ;;
  esac
}

# What the command line of a name has: enough to tell it from one of another directory, or one that got its number later.
mark() {
  case $1 in
    node*) echo "halite mount --config $run/$1/halite.yml " ;;
    server*) echo "nebulagc-server --env-file $run/node${1#server}/server.env " ;;
    balancer) echo "haproxy -db -f $run/haproxy.cfg " ;;
  esac
}

is_running() {
  local name=$1 pid=$2 arguments
  [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
  arguments=$({ tr "\0" " " <"/proc/$pid/cmdline"; } 2>/dev/null) || return 1
  [[ $arguments == *"$(mark "$name")"* ]]
}

# Starts a command in a session of its own: Ctrl-C is for this script, which then stops all in order.
start() {
  local name=$1 log=$2
  shift 2
  setsid "$@" </dev/null >>"$log" 2>&1 &
  started[$name]=$!
  begun[$name]=$SECONDS
  echo "$!" >"$(pid_file "$name")"
}

# Ends processes, given as name=process: asks, waits, then kills.
stop() {
  local pair name pid deadline=$((SECONDS + stop_seconds)) alive
  for pair in "$@"; do
    is_running "${pair%%=*}" "${pair#*=}" && kill -TERM "${pair#*=}" 2>/dev/null
  done
  while ((SECONDS < deadline)); do
    alive=0
    for pair in "$@"; do is_running "${pair%%=*}" "${pair#*=}" && alive=1; done
    ((alive)) || break
    sleep 0.1
  done
  for pair in "$@"; do
    name=${pair%%=*} pid=${pair#*=}
    if is_running "$name" "$pid"; then
      say "up: $name does not stop; killing it"
      kill -KILL "$pid" 2>/dev/null || true
    fi
    [[ $name != node* ]] || unmount "$run/$name/mnt"
    rm -f "$(pid_file "$name")"
  done
}

# Who speaks to whom goes first, so that nobody complains: the balancer, the servers, replicas, the primary.
stop_in_order() {
  local -n processes=$1
  local node pairs=()
  stop "balancer=${processes[balancer]:-none}"
  for node in "${nodes[@]}"; do pairs+=("server$node=${processes[server$node]:-none}"); done
  stop "${pairs[@]}"
  pairs=()
  for node in $(printf '%s\n' "${nodes[@]}" | sort -r); do
    pairs+=("node$node=${processes[node$node]:-none}")
  done
  stop "${pairs[@]}"
}

# What an earlier run left that could not clean up itself.
clean_leftovers() {
  local name
  declare -A left=()
  for name in balancer "${nodes[@]/#/server}" "${nodes[@]/#/node}"; do
    left[$name]=$(cat "$(pid_file "$name")" 2>/dev/null || echo none)
  done
  stop_in_order left
}

cleanup() {
  local code=$? pid
  # A second Ctrl-C must not leave anything behind.
  trap '' INT TERM HUP
  trap - EXIT
  set +e
  for pid in $watcher "${!pauses[@]}"; do kill "$pid" 2>/dev/null; done
  if ((${#begun[@]})); then
    say
    say "up: stopping the nodes, after what runs on them"
    stop_in_order started
  fi
  exit "$code"
}

pause() {
  sleep "$2" &
  pauses[$!]=$1
}

# Says that something has ended, and lets it begin again after a pause unless it could not begin.
note_end() {
  local name=$1 code=$2 how="has ended with exit code $2" log=$run/$1/log
  [[ $name != server* ]] || log=$run/node${name#server}/server.log
  [[ $name != balancer ]] || log=$run/balancer.log
  if ((code > 128)); then
    how="was killed by signal $((code - 128))"
  elif ((SECONDS - begun[$name] < restart_seconds)); then
    say "up: $name $how right after its start and is left alone; see ${log#"$root/"}"
    return
  fi
  say "up: $name $how; the others go on, and it starts again in $restart_seconds s"
  pause "$name" "$restart_seconds"
}

# Starts again what ends, until no node is left.
watch_all() {
  local ended code name
  while ((${#started[@]} + ${#pauses[@]})); do
    code=0
    # In the background, since a signal is handled only between commands, or in `wait`.
    # Its own message about a process that was killed says less than ours.
    wait -n -p ended "${started[@]}" "${!pauses[@]}" 2>/dev/null || code=$?
    if [[ -n ${pauses[$ended]:-} ]]; then
      name=${pauses[$ended]}
      unset "pauses[$ended]"
      begin_again "$name"
      continue
    fi
    for name in "${!started[@]}"; do
      [[ ${started[$name]} == "$ended" ]] || continue
      unset "started[$name]"
      [[ $name != node* ]] || end_server_of "${name#node}"
      note_end "$name" "$code"
    done
    nodes_are_left || return 0
  done
}

nodes_are_left() {
  [[ " ${!started[*]} ${pauses[*]} " == *" node"* ]]
}
