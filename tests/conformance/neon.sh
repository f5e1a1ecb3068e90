#!/usr/bin/env bash
# Compiles the sampler for 64-bit ARM and runs the CPU conformance and golden tests in an emulator, so
# that NEON is held to the reference on machines without it. Exit code 77 where the cross compiler, the
# emulator or the packages of the other architecture cannot be had.
#
# Usage: neon.sh [--jobs N]    (Debian: g++-aarch64-linux-gnu, qemu-user)
set -euo pipefail
cd "$(dirname "$0")/../.."

jobs=$(nproc)
if [ "${1:-}" = --jobs ]; then jobs=$2; fi
for tool in aarch64-linux-gnu-g++ qemu-aarch64 apt-get; do
  command -v "$tool" >/dev/null || { echo "skipped: no $tool"; exit 77; }
done

# The libraries are unpacked beside the system's, which stays of one architecture.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/token-sampler/arm64
libraries=$cache/root/usr/lib/aarch64-linux-gnu
if [ ! -e "$cache/installed" ]; then
  rm -rf "$cache"
  mkdir -p "$cache/lists/partial" "$cache/archives/partial"
  apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64
    -o "Dir::State::lists=$cache/lists" -o "Dir::Cache=$cache")
  if ! (cd "$cache" && "${apt[@]}" update &&
    "${apt[@]}" download libabsl-dev:arm64 libhwy-dev:arm64 libhwy1:arm64 libgtest-dev:arm64) \
    >"$cache/log" 2>&1; then
    cat "$cache/log"
    echo "skipped: the packages for arm64 cannot be downloaded"
    exit 77
  fi
  for package in "$cache"/*.deb; do dpkg -x "$package" "$cache/root"; done
  touch "$cache/installed"
fi

build=build/arm64
mkdir -p "$build"
mapfile -t sources < <(find sampler -name '*.cc' | sort)
sources+=(tests/golden/golden_file.cc tests/golden/golden_rows.cc)
for source in tests/conformance/*.cc; do
  # Leave out what tests the CUDA sampler.
  case "$source" in
    */cuda_* | */direct_launch.cc | */kernel_paths_test.cc) ;;
    *) sources+=("$source") ;;
  esac
done
compile() {
  local object=build/arm64/${1//\//_}.o
  aarch64-linux-gnu-g++ -std=c++20 -O2 -ffp-contract=off -Wall -Wextra -Werror -I. \
    -isystem "$2/root/usr/include" "-DTOKEN_SAMPLER_TEST_DATA=\"$PWD/tests/data\"" -c "$1" -o "$object"
}
export -f compile
rm -f "$build"/*.o
printf '%s\n' "${sources[@]}" | xargs -P "$jobs" -I{} bash -c 'compile "$@"' _ {} "$cache"
aarch64-linux-gnu-g++ "$build"/*.o -o "$build/cpu_conformance_test" -pthread \
  -Wl,--start-group "$libraries"/libabsl_*.a -Wl,--end-group \
  "$libraries/libgtest_main.a" "$libraries/libgtest.a" "$libraries/libhwy.so"

run() {
  qemu-aarch64 -L /usr/aarch64-linux-gnu -E "LD_LIBRARY_PATH=$libraries" "$build/cpu_conformance_test" "$@"
}
# A name of its targets, so that a build without NEON does not pass for one with it.
run --gtest_list_tests | grep NEON >/dev/null || { echo "the sampler was built without NEON"; exit 1; }
# The longest row takes minutes in the emulator, and no other instructions.
run --gtest_brief=1 --gtest_filter='-*LongestRow*'
