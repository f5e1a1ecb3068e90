#!/usr/bin/env bash
# Checks that clang-format would change nothing. Usage: check_format.sh [ROOT]
# Exits with 77 (skipped) where there is no clang-format 14: other versions format differently.
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
if ! clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
  echo "skipped: no clang-format 14"
  exit 77
fi
find client cuda sampler server tests -type f -regex '.*\.\(cc\|h\|cu\|cuh\)' -print0 |
  xargs -0 clang-format --dry-run -Werror
