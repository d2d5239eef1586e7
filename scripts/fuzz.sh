#!/usr/bin/env bash
# fuzz.sh SECONDS [TARGET…]: gives libFuzzer so many seconds for each target (all of them without
# names), two at a time, and says for each how many inputs it ran and which part of the branches of
# LTX and Store they reached. An input that ends in a trap, takes more than five seconds or more
# memory than the limits is kept in .build-fuzz/findings/ and fails the run.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=$1
shift
build=(swift build -c release --package-path Fuzzing --scratch-path .build-fuzz)
"${build[@]}"
fuzzer=$("${build[@]}" --show-bin-path)/halite-fuzz
(($#)) || mapfile -t targets < <("$fuzzer" list)
(($#)) && targets=("$@")
findings=.build-fuzz/findings
rm -rf "$findings" .build-fuzz/logs
mkdir -p "$findings" .build-fuzz/logs

attack() {
  local target=$1 log=.build-fuzz/logs/$1.log code=0
  local regressions=Tests/FuzzTests/Regressions/$1
  local corpus=(.build-fuzz/corpus/"$target")
  [[ -d $regressions ]] && corpus+=("$regressions")
  mkdir -p .build-fuzz/corpus
  # Memory in MiB: the process, and one allocation. The time limit is for a fuzzer that hangs itself.
  SWIFT_BACKTRACE=enable=no timeout -s KILL $((seconds + 60)) \
    "$fuzzer" "$target" "${corpus[@]}" -max_total_time="$seconds" -timeout=5 \
    -rss_limit_mb=512 -malloc_limit_mb=64 -artifact_prefix="$findings/$target-" \
    -print_final_stats=1 >"$log" 2>&1 || code=$?
  local inputs reached all
  inputs=$(awk '/stat::number_of_executed_units/ { print $2 }' "$log")
  reached=$(grep -aoE 'cov: [0-9]+' "$log" | tail -1 | awk '{ print $2 }')
  all=$(grep -aoE 'inline 8-bit counters\): [0-9]+|\([0-9]+ inline 8-bit' "$log" |
    grep -oE '[0-9]{3,}' | head -1)
  printf '%-15s %10s inputs, %5s of %s branches%s\n' "$target" "${inputs:-0}" "${reached:-?}" \
    "${all:-?}" "$([[ $code == 0 ]] || echo ": FAILED, see $log and $findings")"
  return "$code"
}

failed=0
running=0
for target in "${targets[@]}"; do
  if ((running == 2)); then
    wait -n || failed=1
    running=$((running - 1))
  fi
  attack "$target" &
  running=$((running + 1))
done
while ((running)); do
  wait -n || failed=1
  running=$((running - 1))
done
exit "$failed"
