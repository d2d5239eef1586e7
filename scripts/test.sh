#!/usr/bin/env bash
# test.sh LIMIT [OPTION...]: runs the tests that were built, with options for `swift test`, for at most LIMIT
# (as in 45m). Where some fail, their complaints follow once more at the end, before the closing lines of
# the test runner: of a long log often only the end is kept.
set -euo pipefail
cd "$(dirname "$0")/.."

limit=$1
shift
log=.build/test.log
timeout --kill-after=30s "$limit" stdbuf -oL swift test --skip-build --no-parallel "$@" >"$log" 2>&1 &
tests=$!
# Not a pipe: whatever a test leaves behind would keep it open.
tail -n +1 -f --pid=$tests "$log" &
wait "$tests" || {
  wait
  echo
  echo "What failed:"
  grep -E '^✘ |Fatal error|^error: ' "$log" | grep -v '^✘ Test run with' | cut -c 1-3000 | tail -n 40 || true
  grep '^✘ Test run with' "$log" || { echo "The tests did not come to an end; the last lines:"; tail -n 5 "$log"; }
  exit 1
}
wait
