#!/usr/bin/env bash
# Prints the directory with halite and nebulagc-server: that of its argument or of HALITE_HA_BIN, else of the release or
# the debug build, whichever is newer.
set -euo pipefail
cd "$(dirname "$0")/.."

builds=(.build/release .build/debug)
[[ .build/debug/halite -nt .build/release/halite ]] && builds=(.build/debug .build/release)
for directory in "${1:-}" "${HALITE_HA_BIN:-}" "${builds[@]}"; do
  if [[ -n $directory && -x $directory/halite && -x $directory/nebulagc-server ]]; then
    cd "$directory"
    pwd
    exit 0
  fi
done
printf 'there is no halite with nebulagc-server: swift build --product halite, and --product nebulagc-server\n' >&2
exit 1
