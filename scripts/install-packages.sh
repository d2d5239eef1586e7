#!/usr/bin/env bash
# Installs the system packages that building, running and testing Halite needs and this machine lacks.
# Debian 12 and 13, Ubuntu 24.04. Does nothing, and needs no root, when all are there.
set -euo pipefail

packages=(binutils curl e2fsprogs fuse3 iproute2 iptables jq libarchive-dev libfuse3-dev liblz4-dev libsqlite3-dev libssl-dev make openssl
  pkg-config python3 python3-venv sqlite3 strace systemd)
# For `make up` and the tests of deploy/ and docs/ha.md, which run them themselves; the packages would start them as services.
services=(haproxy nginx prometheus)
packages+=("${services[@]}")
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

# A service that comes with a package is started when that is installed, unless this program says no (see
# invoke-rc.d(8)). One that is there already, as in containers, stays as it is.
policy=/usr/sbin/policy-rc.d
fresh=()
for package in "${missing[@]}"; do
  [[ " ${services[*]} " != *" $package "* ]] || fresh+=("$package")
done
if ((${#fresh[@]} > 0)) && [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 0755 /dev/stdin "$policy"
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi
# Another installation may be running, as on a machine that has just started.
"${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 -qq update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get -o DPkg::Lock::Timeout=300 -qq install --no-install-recommends -y "${missing[@]}" >&2
# Nor with the machine's next start.
if ((${#fresh[@]} > 0)) && [[ -d /run/systemd/system ]]; then
  "${as_root[@]}" systemctl --quiet disable "${fresh[@]}" >&2
fi
