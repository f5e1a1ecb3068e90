#!/usr/bin/env bash
# Tests the CUDA sampler on this machine's GPU and measures it. See --help.
set -uo pipefail

usage() {
  cat <<'END'
Usage: tests/gpu/run.sh [--binaries FOLDER] [--rows N] [--no-bench] [options of bench.py]
       tests/gpu/run.sh --build FOLDER

On the GPU, in this order:
  check      the weight function's checksums, the golden file, batches of every size, and random rows
             of every feature and type against the CPU sampler
  sanitizer  a part of that under compute-sanitizer's memcheck, racecheck and synccheck, where it runs
  bench      the kernel's time against one read of the logits, and against torch, a sort as vLLM
             does it, and FlashInfer; needs Python with torch, and skips what cannot be imported

Builds what it needs, which takes nvcc and the packages of deploy/install-deps.sh; or takes it from a
folder, so that a machine with a driver alone will do.

  --build FOLDER     builds, on a machine that needs no GPU, and puts into FOLDER what to carry
  --binaries FOLDER  runs what is there
  --rows N           random rows of the check (default: 1000000)
  --no-bench         check alone
  --batch, --vocab, --seconds: see bench.py --help
END
}

binaries=
build_only=false
rows=1000000
bench=true
while [ $# -gt 0 ]; do
  case "$1" in
    --binaries) binaries=${2:?}; shift ;;
    --build) binaries=${2:?}; build_only=true; shift ;;
    --rows) rows=${2:?}; shift ;;
    --no-bench) bench=false ;;
    -h | --help) usage; exit 0 ;;
    *) break ;;
  esac
  shift
done

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
golden=$root/tests/golden/golden.txt

# build FOLDER: the programs, and the libraries they need that a bare machine lacks.
build() {
  local tree=$root/build/release
  [ -f "$tree/build.ninja" ] || (cd "$root" && cmake --preset release) || return
  cmake --build "$tree" --target token-sampler-gpu-check token_sampler_gpu_bench || return
  mkdir -p "$1" && cp "$tree/bin/token-sampler-gpu-check" \
    "$tree/tests/gpu/libtoken_sampler_gpu_bench.so" "$1" || return
  ldd "$1"/* | awk '/libabsl|libhwy/ {print $3}' | sort -u | xargs --no-run-if-empty cp -t "$1"
}

if [ -z "$binaries" ] || $build_only; then
  binaries=${binaries:-$root/build/gpu}
  build "$binaries" || exit 1
fi
if $build_only; then exit 0; fi
binaries=$(cd "$binaries" && pwd) || exit 1
export LD_LIBRARY_PATH=$binaries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export TOKEN_SAMPLER_TEST_DATA=$root/tests/data
check=$binaries/token-sampler-gpu-check
failed=false

date -u +%Y-%m-%d
git -C "$root" log -1 --format='commit %h' 2>/dev/null
echo "== check"
"$check" "$golden" --rows "$rows" || failed=true

echo "== sanitizer"
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for tool in memcheck racecheck synccheck; do
  "$sanitizer" --tool "$tool" --error-exitcode 9 "$check" "$golden" --quick --threads 1 \
    --rows 2000 >"$log" 2>&1
  result=$?
  # Some virtual machines do not let it at the device.
  if [ "$result" -eq 127 ] || grep -q 'Device not supported' "$log"; then
    echo "skipped: $tool"
  elif [ "$result" -ne 0 ]; then
    cat "$log"
    failed=true
  else
    echo "$tool: nothing found"
  fi
done

if $bench; then
  echo "== bench"
  if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    python3 -B "$here/bench.py" "$@" "$binaries/libtoken_sampler_gpu_bench.so" || failed=true
  else
    echo "skipped: no Python with torch that finds a GPU"
  fi
fi
! $failed
