#!/usr/bin/env bash
# Ends what an earlier, killed run of the mount tests left: its daemons and its mounts, known by the
# directory names that only these tests use. Directories of a run that still goes on are left alone.
#
# usage: clean_leftovers.sh PREFIX OWN_PROCESS
set -u
prefix=$1 own=$2

for other in /proc/[0-9]*; do
  pid=${other#/proc/}
  [[ $pid != "$own" ]] || continue
  arguments=$(tr '\0' ' ' <"$other/cmdline" 2>/dev/null) || continue
  # Another run of these tests is going on: nothing here is a leftover.
  [[ $arguments == *PackageTests.xctest* && $arguments != *timeout* ]] && exit 0
done
for other in /proc/[0-9]*; do
  arguments=$(tr '\0' ' ' <"$other/cmdline" 2>/dev/null) || continue
  [[ $arguments == *"halite mount --config $prefix"* ]] && kill -KILL "${other#/proc/}" 2>/dev/null
done
while read -r _ _ device _ path _; do
  [[ $path == "$prefix"* ]] || continue
  echo 1 >"/sys/fs/fuse/connections/${device#*:}/abort" 2>/dev/null
  umount -l "$path"
done </proc/self/mountinfo
rm -rf "$prefix"*
