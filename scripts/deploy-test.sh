#!/usr/bin/env bash
# Checks what deploy/ holds with the programs that read it: haproxy and promtool (packages haproxy, prometheus).
set -euo pipefail
cd "$(dirname "$0")/../deploy"

for program in haproxy promtool; do
  command -v "$program" >/dev/null ||
    { printf 'deploy-test: there is no %s; install the packages haproxy and prometheus\n' "$program" >&2; exit 1; }
done
NEBULAGC_BIND=127.0.0.1:8080 NEBULAGC_NODE1=127.0.0.1:8081 NEBULAGC_NODE2=127.0.0.1:8082 \
  NEBULAGC_NODE3=127.0.0.1:8083 haproxy -c -q -f haproxy/haproxy.cfg
promtool check rules prometheus/nebulagc.rules.yml
promtool test rules prometheus/nebulagc.test.yml
