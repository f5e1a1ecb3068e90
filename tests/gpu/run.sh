#!/usr/bin/env bash
# Tests the CUDA sampler on this machine's GPU and measures it. See --help.
set -uo pipefail

usage() {
  cat <<'END'
Usage: tests/gpu/run.sh [--binaries FOLDER] [--only PART] [options]
       tests/gpu/run.sh --build FOLDER

On the GPU, in this order:
  check      the weight function's checksums, the golden file, every path of the kernel in every shape
             of launch, long rows, batches of every size, rows of another process, and random rows of
             every feature and type against the CPU sampler
  sanitizer  a part of that under compute-sanitizer's memcheck, racecheck and synccheck, where it runs
  bench      the kernel's time against one read of the logits, and against torch, a sort as vLLM
             does it, and FlashInfer; needs Python with torch, and skips what cannot be imported

Builds what it needs, which takes nvcc and the packages of deploy/install-deps.sh; or takes it from a
folder, so that a machine with a driver alone will do.

  --build FOLDER     builds, on a machine that needs no GPU, and puts into FOLDER what to carry
  --binaries FOLDER  runs what is there
  --only PART        check, sanitizer or bench
  --rows N           random rows of the check (default: 1000000)
  --quick            parts of the checks before the random rows
  --limit SECONDS    that each tool of the sanitizer may take (default: 150)
  --emulated         the programs are those of the emulation, which need no GPU: tests this script
  --batch, --vocab, --seconds: see bench.py --help

A folder holds about 10 MB. To carry it where commands are cut off, run one part at a time, and pipe
it to `tee`: what was printed until then is whole. The commit is that of the build.
END
}

binaries=
build_only=false
rows=1000000
parts="check sanitizer bench"
quick=()
limit=150
emulated=()
while [ $# -gt 0 ]; do
  case "$1" in
    --binaries) binaries=${2:?}; shift ;;
    --build) binaries=${2:?}; build_only=true; shift ;;
    --rows) rows=${2:?}; shift ;;
    --only)
      parts=${2:?}
      case "$parts" in check | sanitizer | bench) ;; *) usage >&2; exit 2 ;; esac
      shift
      ;;
    --quick) quick=(--quick) ;;
    --limit) limit=${2:?}; shift ;;
    --emulated) emulated=(--emulated) ;;
    -h | --help) usage; exit 0 ;;
    *) break ;;
  esac
  shift
done

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
golden=$root/tests/golden/golden.txt

# pack FOLDER PROGRAM LIBRARY: these two, and the libraries they need that a bare machine lacks.
pack() {
  mkdir -p "$1" && cp "$2" "$1/token-sampler-gpu-check" &&
    cp "$3" "$1/libtoken_sampler_gpu_bench.so" || return
  ldd "$2" "$3" | awk '/libabsl|libhwy|libboost/ {print $3}' | sort -u |
    xargs --no-run-if-empty cp -t "$1" || return
  git -C "$root" log -1 --format='commit %h' >"$1/commit" 2>/dev/null || true
}

# build FOLDER
build() {
  local tree=$root/build/release
  [ -f "$tree/build.ninja" ] || (cd "$root" && cmake --preset release) || return
  cmake --build "$tree" --target token-sampler-gpu-check token_sampler_gpu_bench || return
  pack "$1" "$tree/bin/token-sampler-gpu-check" "$tree/tests/gpu/libtoken_sampler_gpu_bench.so"
}

if [ -z "$binaries" ] || $build_only; then
  binaries=${binaries:-$root/build/gpu}
  if [ "${#emulated[@]}" -gt 0 ]; then
    pack "$binaries" "${TOKEN_SAMPLER_EMULATED_CHECK:?}" "${TOKEN_SAMPLER_EMULATED_BENCH:?}" || exit 1
  else
    build "$binaries" || exit 1
  fi
fi
if $build_only; then exit 0; fi
binaries=$(cd "$binaries" && pwd) || exit 1
export LD_LIBRARY_PATH=$binaries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export TOKEN_SAMPLER_TEST_DATA=$root/tests/data
check=$binaries/token-sampler-gpu-check
python=${PYTHON:-python3}
failed=false
log=$(mktemp)
trap 'rm -f "$log"' EXIT

check() {
  "$check" "$golden" --rows "$rows" "${quick[@]}" || failed=true
}

sanitizer() {
  local sanitizer tool result
  sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
  for tool in memcheck racecheck synccheck; do
    timeout "$limit" "$sanitizer" --tool "$tool" --error-exitcode 9 "$check" "$golden" --quick \
      --threads 1 --rows 2000 >"$log" 2>&1
    result=$?
    # Some virtual machines do not let it at the device.
    if [ "$result" -eq 127 ] || grep -q 'Device not supported' "$log"; then
      echo "skipped: $tool"
    elif [ "$result" -eq 124 ] && ! grep '^=========' "$log" | grep -qv COMPUTE-SANITIZER; then
      echo "$tool: nothing found until it was stopped, after $limit s, behind:"
      tail -n 1 "$log"
    elif [ "$result" -ne 0 ]; then
      cat "$log"
      failed=true
    else
      echo "$tool: nothing found"
    fi
  done
}

bench() {
  local needed='import torch; assert torch.cuda.is_available()'
  [ "${#emulated[@]}" -eq 0 ] || needed='import torch'
  if "$python" -c "$needed" 2>/dev/null; then
    "$python" -B "$here/bench.py" "${emulated[@]}" "$@" "$binaries/libtoken_sampler_gpu_bench.so" ||
      failed=true
  else
    echo "skipped: no Python with torch that finds a GPU"
  fi
}

date -u +%Y-%m-%d
git -C "$root" log -1 --format='commit %h' 2>/dev/null || cat "$binaries/commit" 2>/dev/null
for part in $parts; do
  echo "== $part"
  "$part" "$@"
done
! $failed
