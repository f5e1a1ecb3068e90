#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test that needs no GPU. See --help.
set -uo pipefail

usage() {
  cat <<'END'
Usage: tests/run.sh [--quick | --nightly] [--jobs N] [--no-install]

Builds and runs, each through ctest:
  release  every test, the linters among them
  tidy     clang-tidy over sampler, cuda, server and client, which also finds missing includes
  asan     every test again, under the address and undefined-behaviour sanitizers, and random rows,
           parameters and requests by libFuzzer, a bounded number of them
  tsan     the tests that use threads and no gRPC, under the thread sanitizer

  --quick       release alone
  --nightly     all of it, then clang's static analyzer, millions of random rows and requests against
                the reference sampler and protobuf, every attack of tests/hostile, also under the address
                sanitizer, a million rows of the CUDA sampler by the emulation, and NEON in an emulator
                where Debian's g++-aarch64-linux-gnu and qemu-user are installed
  --jobs N      parallel jobs (default: one per core, fewer when memory is short)
  --no-install  trust that what is needed is installed

A test whose Python package cannot be fetched is skipped, and fails where CI=true.
Uses ccache when it is there. Build trees are build/<preset>, logs build/logs.
END
}

quick=false
nightly=false
install=true
jobs=
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) quick=true ;;
    --nightly) nightly=true ;;
    --no-install) install=false ;;
    --jobs)
      jobs=${2:-}
      [[ $jobs =~ ^[1-9][0-9]*$ ]] || { echo "--jobs takes a number above 0" >&2; exit 2; }
      shift
      ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done

cd "$(dirname "$0")/.." || exit 1
mkdir -p build/logs
if $install; then ./deploy/install-deps.sh test || exit 1; fi
if [ -z "$jobs" ]; then
  # A source file that includes gRPC takes up to 1.5 GB to compile under a sanitizer.
  by_memory=$(awk '/MemAvailable/ {print int($2 / 1500000)}' /proc/meminfo)
  jobs=$(nproc)
  [ "$by_memory" -ge "$jobs" ] || jobs=$((by_memory > 0 ? by_memory : 1))
fi
. deploy/ccache.sh

summary=()
failed=false
finish() {  # finish NAME SECONDS_AT_START RESULT
  summary+=("$(printf '%-8s %-6s %4d s' "$1" "$3" $((SECONDS - $2)))")
  [ "$3" = ok ] || failed=true
}

# Builds a preset and runs its tests. Shows the closing lines of ctest, and what failed.
preset() {
  local name=$1 start=$SECONDS log
  shift
  log=build/logs/$name-build.log
  echo "== $name: building"
  if ! { cmake --preset "$name" "$@" && cmake --build "build/$name" -j "$jobs"; } >"$log" 2>&1; then
    grep -E -A 20 'error|Error|FAILED' "$log" | head -60
    echo "Building $name failed; the whole output is in $log"
    finish "$name" "$start" FAILED
    return
  fi
  log=build/logs/$name-test.log
  echo "== $name: testing"
  if ctest --preset "$name" -j "$jobs" >"$log" 2>&1; then
    sed -n '/tests passed/,$p' "$log"
    finish "$name" "$start" ok
  else
    # ctest prints the output of a failed test; that of the passed ones is their one line.
    grep -vE '^ *(Start +[0-9]+:|[0-9]+/[0-9]+ Test +#[0-9]+: .* Passed )' "$log"
    echo "Tests of $name failed; the whole output is in $log"
    finish "$name" "$start" FAILED
  fi
}

# Fetches a newer clang-tidy than Debian's, which takes half as long again because it looks at what system
# headers declare. Debian's finds nearly as much where this one cannot be had.
clang_tidy=clang-tidy
fetch_clang_tidy() {
  local version=23.1.4 folder=build/clang-tidy
  [ -d "$folder" ] || python3 -m venv "$folder"
  if "$folder/bin/pip" install --quiet --disable-pip-version-check "clang-tidy==$version"; then
    clang_tidy=$folder/bin/clang-tidy
  else
    echo "clang-tidy $version cannot be fetched: using $(clang-tidy --version | grep -i version)"
  fi
}

tidy() {
  local start=$SECONDS
  echo "== tidy"
  fetch_clang_tidy 2>"build/logs/clang-tidy.log"
  if python3 tests/lint/check_tidy.py --jobs "$jobs" --program "$clang_tidy" build/release; then
    finish tidy "$start" ok
  else
    finish tidy "$start" FAILED
  fi
}

# If there is an nvcc, a configuration that does not use it is an error.
cuda=AUTO
if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then cuda=ON; fi
rm -f build/release/kernels.txt
preset release -DTOKEN_SAMPLER_TESTS=ON -DTOKEN_SAMPLER_PRECOMPILE=ON -DTOKEN_SAMPLER_CUDA="$cuda"
if [ "$cuda" = ON ]; then
  echo "== kernels"
  cat build/release/kernels.txt || failed=true
  build/release/bin/token-sampler-gpu-check-emulated --shapes || failed=true
else
  summary+=("cuda     skipped: no nvcc, so that its kernels were emulated and not compiled")
fi
if ! $quick; then
  if [ -f build/release/compile_commands.json ]; then tidy; fi
  preset asan -DTOKEN_SAMPLER_PRECOMPILE=ON
  preset tsan -DTOKEN_SAMPLER_PRECOMPILE=ON
fi

# A part of a million rows, half of which the CUDA kernels take, by the emulation.
emulated_rows() {  # emulated_rows PART
  build/release/bin/token-sampler-gpu-check-emulated tests/golden/golden.txt --quick --threads 2 \
    --rows 500000 --first-batch $((1 + $1 * 1000000)) >"build/logs/nightly-emulated-$1.log" 2>&1
}

# The kernels run on one thread of a process at a time.
million_emulated_rows() {
  emulated_rows 0 &
  local first=$!
  emulated_rows 1 && wait "$first"
}

# The conformance tests draw about 1,300 rows for each SIMD target and number of threads; here a hundred
# times as many.
nightly() {
  local start=$SECONDS result=ok
  echo "== nightly"
  python3 tests/lint/check_tidy.py --jobs "$jobs" --program "$clang_tidy" --analyze build/release &&
    TOKEN_SAMPLER_CONFORMANCE_SCALE=100 build/release/bin/cpu_conformance_test --gtest_brief=1 &&
    { tests/conformance/neon.sh --jobs "$jobs" || [ $? -eq 77 ]; } &&
    TOKEN_SAMPLER_CONFORMANCE_SCALE=100 build/asan/bin/cuda_conformance_test --gtest_brief=1 \
      --gtest_filter='*Golden*' &&
    build/asan/bin/token-sampler-gpu-check-emulated tests/golden/golden.txt --quick --threads 1 \
      --rows 200 >build/logs/nightly-emulated-asan.log 2>&1 &&
    million_emulated_rows &&
    build/asan/bin/fuzz-requests -runs=20000000 -seed=2 -max_len=700 -timeout=60 \
      >build/logs/nightly-fuzz-requests.log 2>&1 &&
    build/asan/bin/fuzz-rows -runs=20000000 -seed=2 -max_len=700 -timeout=60 \
      >build/logs/nightly-fuzz.log 2>&1 &&
    build/asan/bin/fuzz-decode -runs=2000000 -seed=2 -max_len=700 -timeout=60 \
      >build/logs/nightly-fuzz-decode.log 2>&1 &&
    build/asan/bin/fuzz-stream -runs=200000 -seed=2 -max_len=700 -timeout=60 \
      >build/logs/nightly-fuzz-stream.log 2>&1 &&
    { tests/hostile/run.sh --long >build/logs/nightly-hostile.log 2>&1 || [ $? -eq 77 ]; } &&
    { tests/hostile/run.sh --server build/asan/bin/token-sampler-server --asan \
        >build/logs/nightly-hostile-asan.log 2>&1 || [ $? -eq 77 ]; } ||
    result=FAILED
  finish nightly "$start" "$result"
}
if $nightly; then nightly; fi

echo "== summary"
printf '%s\n' "${summary[@]}"
! $failed
