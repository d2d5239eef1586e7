#!/usr/bin/env bash
# Installs the system packages that building and running Halite needs and this machine lacks.
# Debian 12 and 13, Ubuntu 24.04. Does nothing, and needs no root, when all are there.
set -euo pipefail

packages=(curl e2fsprogs fuse3 iproute2 iptables libarchive-dev libfuse3-dev liblz4-dev libsqlite3-dev libssl-dev make openssl
  pkg-config python3 sqlite3 strace)
# The tests run CPython's own tests of SQLite, which Debian keeps apart from its Python.
if command -v python3 >/dev/null && ! python3 -c 'import test.test_sqlite3' >/dev/null 2>&1; then
  packages+=("libpython$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')-testsuite")
fi

fail() {
  printf 'install-packages: %s\n' "$*" >&2
  exit 1
}

command -v swift >/dev/null ||
  fail "there is no swift on PATH; install a Swift 6.2 or later toolchain from https://swift.org/install"

if ! command -v dpkg-query >/dev/null; then
  for library in fuse3 libarchive liblz4 sqlite3; do
    pkg-config --exists "$library" 2>/dev/null ||
      fail "this is not Debian or Ubuntu; install what they call: ${packages[*]}"
  done
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  [[ $status == ii* ]] || missing+=("$package")
done
((${#missing[@]} > 0)) || exit 0

as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null ||
    fail "missing packages: ${missing[*]}; run as root: apt-get install ${missing[*]}"
  as_root=(sudo)
fi
printf 'install-packages: installing %s\n' "${missing[*]}" >&2
# Another installation may be running, as on a machine that has just started.
"${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 -qq update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get -o DPkg::Lock::Timeout=300 -qq install --no-install-recommends -y "${missing[@]}" >&2
