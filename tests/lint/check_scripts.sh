#!/usr/bin/env bash
# Runs shellcheck over the shell scripts. Usage: check_scripts.sh [ROOT]
# Exits with 77 (skipped) where there is no shellcheck.
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
if ! command -v shellcheck >/dev/null; then
  echo "skipped: no shellcheck"
  exit 77
fi
{
  find client deploy tests -type f -name '*.sh' -print0
  printf '.ci/run\0'
} | xargs -0 shellcheck
