#!/usr/bin/env bash
# Attacks a server and prints the outcome, one row per attack. See --help.
set -euo pipefail

usage() {
  cat <<'END'
Usage: tests/hostile/run.sh [--server BINARY [--asan]] [--only NAME]... [--short | --long] [--table] [--list]

Starts the server for each attack anew, attacks it for some seconds, measures its memory and CPU time and
the latency of a polite client beside the attacker, and stops it by SIGTERM. Prints a table with each
bound that does not hold. Exits with 1 if an attack that the server is known to stand fails.

  --server BINARY  default: build/release/bin/token-sampler-server
  --asan           the binary is a build with the address sanitizer: its reports fail the attack, and it
                   may be larger and slower
  --only NAME      this attack; repeatable
  --short          a second of each attack that the server is known to stand, three at once: what ctest
                   runs
  --long           30 seconds of each attack that could go on for ever, or 60, instead of 5 or 30
  --table          the table without progress
  --list           the names, and which attacks the server is known to stand
  --most-mib N     end a server that takes more (default: 4096)

The attacks need up to 6 GB of memory, 2 of them in /dev/shm if the server reads what it should not.
Exits with 77 (skipped) without Debian's python3-hpack and python3-protobuf, with 1 where CI=true.
END
}

here=$(dirname "$(readlink -f "$0")")
case "${1:-}" in
  -h | --help) usage; exit 0 ;;
esac
for python in python3 /usr/bin/python3; do
  if "$python" -c 'import google.protobuf, hpack' 2>/dev/null; then
    exec "$python" -B "$here/hostile.py" "$@"
  fi
done
echo "skipped: no Python with hpack and protobuf (python3-hpack, python3-protobuf)"
[ "${CI:-}" = true ] && exit 1
exit 77
