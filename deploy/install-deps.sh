#!/usr/bin/env bash
# Installs the Debian packages that this project needs and that are missing, and nothing else.
#
# Usage: deploy/install-deps.sh [build|test]
#   build  what compiling the server and the client takes (default)
#   test   that, and what the tests and linters take
#
# Runs as root or through sudo. Does nothing, at once, when all is there. CUDA is not installed: the
# CUDA sampler is built where nvcc is found.
set -euo pipefail

# A library is there when dpkg says so.
build_libraries=(
  libabsl-dev libcli11-dev libgrpc++-dev libhwy-dev libjemalloc-dev libprotobuf-dev libspdlog-dev
  nlohmann-json3-dev
)
# libb64-0d: what Triton's perf_analyzer is linked with. python3-hpack, python3-protobuf: tests/hostile.
test_libraries=(
  libb64-0d libbenchmark-dev libboost-context-dev libgmock-dev libgtest-dev python3-hpack
  python3-protobuf
)

# A tool, "command:package", is there when its command is, whoever installed it.
build_tools=(
  cmake:cmake g++:g++ grpc_cpp_plugin:protobuf-compiler-grpc ninja:ninja-build
  protoc:protobuf-compiler
)
test_tools=(
  clang++:clang clang-format:clang-format clang-tidy:clang-tidy ld.lld:lld llvm-cov:llvm
  python3:python3 shellcheck:shellcheck
)

libraries=("${build_libraries[@]}")
tools=("${build_tools[@]}")
case "${1:-build}" in
  build) ;;
  test)
    libraries+=("${test_libraries[@]}")
    tools+=("${test_tools[@]}")
    ;;
  *)
    echo "usage: $0 [build|test]" >&2
    exit 2
    ;;
esac

is_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=()
for tool in "${tools[@]}"; do
  command -v "${tool%%:*}" >/dev/null || missing+=("${tool#*:}")
done
if command -v dpkg-query >/dev/null; then
  for library in "${libraries[@]}"; do
    is_installed "$library" || missing+=("$library")
  done
  # Debian packages this part of Python's virtual environments separately.
  if [ "${1:-build}" = test ] && ! python3 -c 'import ensurepip' 2>/dev/null; then
    missing+=(python3-venv)
  fi
else
  echo "No dpkg here: make sure that you have what these Debian packages hold:" \
    "${libraries[*]}" >&2
fi
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "Missing, and no apt-get to install it with: ${missing[*]}" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "Missing: ${missing[*]}. Run this as root, or install sudo." >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "Installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1
}
# A repository that does not answer is no reason to stop: what is needed may come from the others.
apt update || cat "$log" >&2
if ! apt install -y --no-install-recommends "${missing[@]}"; then
  cat "$log" >&2
  exit 1
fi
