#!/usr/bin/env bash
# fuzz-test.sh SECONDS: gives the seeded mutator of FuzzTests so many seconds for each target, in as many
# processes as there are processors, and says how many inputs each target survived. The tests must
# have been built.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=$1
parts=$(nproc)
logs=.build/fuzz-test
rm -rf "$logs"
mkdir -p "$logs"

jobs=()
for ((part = 1; part <= parts; part++)); do
  HALITE_FUZZ_SECONDS=$seconds HALITE_FUZZ_PART=$part/$parts timeout --kill-after=30s 60m \
    .build/debug/halitePackageTests.xctest --testing-library swift-testing --filter FuzzTests \
    >"$logs/$part.log" 2>&1 &
  jobs+=($!)
done
failed=0
for ((part = 1; part <= parts; part++)); do
  wait "${jobs[part - 1]}" || {
    failed=1
    tail -n 60 "$logs/$part.log"
  }
done
grep -hE '^fuzz .* inputs$' "$logs"/*.log | sort
exit "$failed"
