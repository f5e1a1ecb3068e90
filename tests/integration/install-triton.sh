#!/usr/bin/env bash
# Installs one of Triton's programs from its Python package, once, outside of the tree, and prints
# where it is. If the package cannot be installed, for lack of a network or of its index's
# certificate, the exit code is 77, or 1 if CI=true.
#
# Usage: install-triton.sh client|perf_analyzer
#   client         prints the interpreter of a virtual environment that has tritonclient[grpc], and
#                  a grpcio-tools that takes the same protobuf, for stubs of the native service
#   perf_analyzer  prints the folder in whose bin it is
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/token-sampler
case "${1:-}" in
  client)
    folder=$cache/tritonclient-2.73.0-tools
    packages=("tritonclient[grpc]==2.73.0" grpcio-tools==1.81.1)
    options=()
    ;;
  perf_analyzer)
    # The newest package that contains the program, which is linked with the CUDA runtime.
    folder=$cache/perf-analyzer-2.41.0
    packages=(tritonclient==2.41.0 nvidia-cuda-runtime-cu12==12.9.79)
    options=(--no-deps --target "$folder/files")
    ;;
  *)
    echo "usage: $0 client|perf_analyzer" >&2
    exit 2
    ;;
esac

mkdir -p "$cache"
exec 9>"$folder.lock"
flock 9
if [ ! -e "$folder/installed" ]; then
  rm -rf "$folder"
  if ! { python3 -m venv "$folder" &&
    "$folder/bin/pip" --disable-pip-version-check install --quiet "${options[@]}" \
      "${packages[@]}"; } >&2; then
    echo "${packages[*]} cannot be installed" >&2
    [ "${CI:-}" = true ] || exit 77
    exit 1
  fi
  touch "$folder/installed"
fi
if [ "$1" = client ]; then
  echo "$folder/bin/python3"
else
  echo "$folder/files"
fi
