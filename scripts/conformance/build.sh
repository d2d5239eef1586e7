#!/usr/bin/env bash
# Fetches SQLite's source as this machine's distribution has it, and builds programs of it under
# .build-conformance/: those named, or the test programs testfixture and mptester. Does nothing when they
# are there.
#
# SQLite's tests are not in this repository, and no host is named here: where source packages come
# from is derived from where this machine gets its packages, in files of our own, so that the
# machine's own lists stay as they are. Only installing what the build lacks needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."

root=$PWD/.build-conformance
apt=$root/apt
log=$root/build.log
programs=("$@")
((${#programs[@]} > 0)) || programs=(testfixture mptester)

say() { printf 'conformance: %s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

mkdir -p "$root"
exec 9>"$root/lock"
flock 9
missing=()
for program in "${programs[@]}"; do
  [[ -x $root/build/$program ]] || missing+=("$program")
done
if ((${#missing[@]} == 0)) && [[ -e $root/source ]]; then
  exit 0
fi

command -v apt-get >/dev/null ||
  fail "needs apt-get; elsewhere, put SQLite's source tree at $root/source, and its testfixture" \
    "and mptester (for benchmarks speedtest1) into $root/build"

install_missing() {
  local missing=() package status as_root=()
  for package in build-essential dpkg-dev tcl tcl-dev zlib1g-dev; do
    status=$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null || true)
    [[ $status == ii* ]] || missing+=("$package")
  done
  ((${#missing[@]} > 0)) || return 0
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      fail "missing packages: ${missing[*]}; run as root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 -qq update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=300 -qq install --no-install-recommends -y "${missing[@]}" >&2
}

# The machine's own package sources, asked for source packages; both formats of apt.
derive_sources() {
  rm -rf "$apt"
  mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/archives/partial"
  local file number=0
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
    [[ -f $file ]] || continue
    number=$((number + 1))
    case $file in
    *.sources) sed 's/^Types:.*/Types: deb-src/' "$file" >"$apt/parts/$number.sources" ;;
    *) sed -n 's/^[[:space:]]*deb[[:space:]]/deb-src /p' "$file" >"$apt/parts/$number.list" ;;
    esac
  done
  cat >"$apt/apt.conf" <<CONFIG
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/parts";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt";
APT::Sandbox::User "";
CONFIG
}

fetch() {
  local found
  rm -rf "$root"/sqlite3-* "$root/source" "$root/build"
  derive_sources
  say "fetching SQLite's source"
  (
    cd "$root"
    export APT_CONFIG=$apt/apt.conf
    # A list that cannot be had (of a source that has no source packages) is no harm by itself.
    apt-get -qq update || true
    apt-get -qq source sqlite3
  ) >"$log" 2>&1 || fail "the source could not be fetched; see $log"
  found=$(find "$root" -maxdepth 1 -type d -name 'sqlite3-*' | head -n 1)
  [[ -n $found ]] || fail "apt-get source left no source tree; see $log"
  mv "$found" "$root/source"
  rm -rf "$apt" "$root"/sqlite3_*
}

build() {
  say "building ${missing[*]} (about a minute)"
  mkdir -p "$root/build"
  (
    cd "$root/build"
    [[ -e Makefile ]] || ../source/configure CFLAGS="-O1 -w"
    make "${missing[@]}"
  ) >>"$log" 2>&1 || {
    for program in "${missing[@]}"; do rm -f "$root/build/$program"; done
    fail "the build failed; see $log"
  }
}

install_missing
[[ -e $root/source ]] || fetch
build
