#!/usr/bin/env bash
# Tells what the daemons and mounts of these tests are doing, and then cuts the mounts off from their
# daemons, so that programs which hang in one of them can end.
#
# usage: free_hung_mounts.sh PREFIX HUNG_PROCESS
set -u
prefix=$1 hung=$2

threads() {
  local task
  for task in /proc/"$1"/task/*; do
    echo "  $(<"$task/comm"): state $(awk '/^State/ {print $2}' "$task/status")," \
      "in $(cat "$task/wchan" 2>/dev/null), call $(cut -d' ' -f1 "$task/syscall" 2>/dev/null)"
    [[ $2 == short ]] || sed 's/^/    /' "$task/stack" 2>/dev/null
  done
}

for child in "$hung" $(pgrep -P "$hung"); do
  echo "hung process $child ($(cat "/proc/$child/comm"))"
  threads "$child" long
done
for daemon in $(pgrep -f "halite mount --config $prefix"); do
  echo "daemon $daemon: $(tr '\0' ' ' <"/proc/$daemon/cmdline")"
  threads "$daemon" short
  if command -v gdb >/dev/null; then
    timeout -s KILL 60 gdb -p "$daemon" -batch -ex 'thread apply all bt 25' 2>/dev/null
  fi
done
while read -r _ _ device _ path _; do
  [[ $path == "$prefix"* ]] || continue
  connection=/sys/fs/fuse/connections/${device#*:}
  echo "mount $path: $(cat "$connection/waiting") requests waiting"
  echo 1 >"$connection/abort"
done </proc/self/mountinfo
