#!/usr/bin/env bash
# Installs the Python package of Triton's gRPC client into a virtual environment outside of the tree,
# once, and prints the environment's interpreter. Exit code 77 when the package index cannot be
# reached.
set -euo pipefail

readonly version=2.73.0
environment=${XDG_CACHE_HOME:-$HOME/.cache}/token-sampler/tritonclient-$version

mkdir -p "${environment%/*}"
exec 9>"$environment.lock"
flock 9
if [ ! -e "$environment/installed" ]; then
  rm -rf "$environment"
  python3 -m venv "$environment" >&2
  if ! "$environment/bin/pip" --disable-pip-version-check install --quiet \
    "tritonclient[grpc]==$version" >"$environment/log" 2>&1; then
    cat "$environment/log" >&2
    grep -qE 'Connection|Temporary failure|timed out|Max retries' "$environment/log" && exit 77
    exit 1
  fi
  touch "$environment/installed"
fi
echo "$environment/bin/python3"
