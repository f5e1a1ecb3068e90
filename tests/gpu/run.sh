#!/usr/bin/env bash
# Tests the CUDA sampler on this machine's GPU and measures it. See --help.
set -uo pipefail

# In the order of what is worth most when a run breaks off. The last part gets what is left.
parts=(card quick target ncu full racecheck memcheck more)
declare -A limits=([card]=5 [quick]=60 [target]=150 [ncu]=40 [full]=120 [racecheck]=60 [memcheck]=60)
declare -A about=(
  [card]="the card, its driver and clocks; how many blocks and clusters of each launch it takes"
  [quick]="a part of every check, then random rows against the CPU sampler"
  [target]="the benchmark's cells that have targets, other kinds of rows, and the peers"
  [ncu]="four launches under Nsight Compute"
  [full]="every check, then random rows"
  [racecheck]="a part of the checks under compute-sanitizer"
  [memcheck]="the same"
  [more]="more of the benchmark, in the time that is left"
)
total=560
grace=5

usage() {
  cat <<END
Usage: tests/gpu/run.sh [--binaries FOLDER] [--output FOLDER] [--only PART] [--emulated]
       tests/gpu/run.sh --build FOLDER

The whole run takes at most $total s. Each part writes PART.txt into the output folder as it goes. One that
takes longer than its limit is stopped, and killed $grace s later; one that cannot run is skipped. Either
way the next goes on. The parts, in this order, and their limits in seconds:

END
  for part in "${parts[@]}"; do
    printf '  %-10s %4s  %s\n' "$part" "${limits[$part]:-rest}" "${about[$part]}"
  done
  cat <<END

Builds what it needs, which takes nvcc and the packages of deploy/install-deps.sh; or takes it from a
folder, so that a machine with only a driver will do. Parts of the benchmark need Python with torch.

  --build FOLDER     builds, on a machine that needs no GPU, and puts into FOLDER what to carry
  --binaries FOLDER  runs what is there
  --output FOLDER    for the results (default: results in the folder of the binaries)
  --only PART        runs that one
  --seconds N        for the whole run instead of $total; the limits shrink in proportion
  --emulated         the programs are those of the emulation, which need no GPU: tests this script

Python modules in FOLDER/peers of the binaries are imported before those of the machine: flashinfer, or
topk_topp_triton.py of the sources of vLLM 0.27.1 (vllm/v1/sample/ops). What is missing is named.
The commit is that of the build.
END
}

binaries=
output=
build_only=false
seconds=$total
emulated=()
while [ $# -gt 0 ]; do
  case "$1" in
    --binaries) binaries=${2:?}; shift ;;
    --build) binaries=${2:?}; build_only=true; shift ;;
    --output) output=${2:?}; shift ;;
    --only)
      [[ " ${parts[*]} " == *" ${2:?} "* ]] || { usage >&2; exit 2; }
      parts=("$2")
      shift
      ;;
    --seconds)
      if ! [[ "${2:?}" =~ ^[1-9][0-9]{0,2}$ ]] || [ "$2" -gt "$total" ]; then usage >&2; exit 2; fi
      seconds=$2
      shift
      ;;
    --emulated) emulated=(--emulated) ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

# pack FOLDER PROGRAM LIBRARY: these two, and the libraries they need that a bare machine lacks.
pack() {
  mkdir -p "$1" && cp "$2" "$1/token-sampler-gpu-check" &&
    cp "$3" "$1/libtoken_sampler_gpu_bench.so" || return
  ldd "$2" "$3" | awk '/libabsl|libhwy|libboost/ {print $3}' | sort -u |
    xargs --no-run-if-empty cp -t "$1" || return
  git -C "$root" log -1 --format='commit %h' >"$1/commit" 2>/dev/null || true
  echo "$1: $(du -sm "$1" | cut -f 1) MiB"
}

# build FOLDER
build() {
  local tree=$root/build/release
  if [ "${#emulated[@]}" -gt 0 ]; then
    pack "$1" "${TOKEN_SAMPLER_EMULATED_CHECK:?}" "${TOKEN_SAMPLER_EMULATED_BENCH:?}"
    return
  fi
  [ -f "$tree/build.ninja" ] || (cd "$root" && cmake --preset release) || return
  cmake --build "$tree" --target token-sampler-gpu-check token_sampler_gpu_bench || return
  pack "$1" "$tree/bin/token-sampler-gpu-check" "$tree/tests/gpu/libtoken_sampler_gpu_bench.so"
}

if [ -z "$binaries" ] || $build_only; then
  binaries=${binaries:-$root/build/gpu}
  build "$binaries" || exit 1
fi
if $build_only; then exit 0; fi

milliseconds() { echo $((${EPOCHREALTIME//[!0-9]/} / 1000)); }
began=$(milliseconds)
binaries=$(cd "$binaries" && pwd) || exit 1
output=${output:-$binaries/results}
mkdir -p "$output" || exit 1
export binaries
export LD_LIBRARY_PATH=$binaries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export PYTHONPATH=$binaries/peers${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUNBUFFERED=1
export TOKEN_SAMPLER_TEST_DATA=$root/tests/data
check=("$binaries/token-sampler-gpu-check" "$root/tests/golden/golden.txt")
python=("${PYTHON:-python3}" -B)
library=$binaries/libtoken_sampler_gpu_bench.so
quick_rows=(--rows 200000)
full_rows=(--rows 1000000000)
if [ "${#emulated[@]}" -gt 0 ]; then
  quick_rows=(--rows 200)
  full_rows=(--quick --rows 200)
fi
failed=false
summary=()

# in_seconds MILLISECONDS
in_seconds() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }

# found TOOL: where it is; fails where it is nowhere.
found() { command -v "$1" || { [ -x "/usr/local/cuda/bin/$1" ] && echo "/usr/local/cuda/bin/$1"; }; }

say() {  # say PART TEXT
  echo "$1: $2"
  summary+=("$(printf '%-10s %s' "$1" "$2")")
}

card_state() {
  date -u +%Y-%m-%d
  cat "$binaries/commit"
  nvidia-smi --format=csv --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,clocks.max.mem,temperature.gpu,power.draw,power.limit ||
    echo "skipped: nvidia-smi"
  exec "$binaries/token-sampler-gpu-check" --card
}
export -f card_state

# command_of PART SECONDS: sets the command that runs it and stops by itself after so many seconds.
command_of() {
  local tool
  case "$1" in
    card) command=(bash -c card_state) ;;
    quick) command=("${check[@]}" --seconds "$2" --quick "${quick_rows[@]}") ;;
    full) command=("${check[@]}" --seconds "$2" --first-batch 1000001 "${full_rows[@]}") ;;
    target) command=("${python[@]}" "$here/bench.py" --seconds "$2" "${emulated[@]}" "$library") ;;
    more) command=("${python[@]}" "$here/bench.py" --more --seconds "$2" "${emulated[@]}" "$library") ;;
    ncu)
      tool=$(found ncu) || return
      command=("$tool" --clock-control none --target-processes all --kernel-name regex:SampleRows
        --launch-count 4 --section SpeedOfLight --section WarpStateStats --section SchedulerStats
        "${python[@]}" "$here/bench.py" --launches "${emulated[@]}" "$library")
      ;;
    racecheck | memcheck)
      tool=$(found compute-sanitizer) || return
      command=("$tool" --tool "$1" --error-exitcode 9 "${check[@]}" --quick --threads 1 --rows 2000)
      ;;
  esac
}

# is_refused FILE: true if a tool says in it that it may not look at the device, as in some virtual machines.
is_refused() {
  grep -qE 'Device not supported|Failed to initialize the profiler|ERR_NVGPUCTRPERM' "$1"
}

# Reads that racecheck cannot tell from reads of blocks that have ended: cuda/README.md.
explained='Potential invalid __shared__ read'

# Fails where compute-sanitizer found nothing until it was stopped. Reads all it wrote, for a pipeline
# that ends early fails too.
has_findings() {
  local titles
  titles=$(grep '^========= [A-Z]' "$1" | grep -vE "COMPUTE-SANITIZER|terminat|SUMMARY: |$explained")
  [ -n "$titles" ]
}

# judge PART RESULT SECONDS: what has become of it.
judge() {
  local file=$output/$1.txt
  if [ "$2" -eq 0 ]; then
    say "$1" "ok"
  elif [ "$2" -eq 77 ] || is_refused "$file" || { [ "$1" = ncu ] && grep -q '^skipped: ' "$file"; }; then
    say "$1" "skipped: $(grep -m 1 -E '^skipped: |^=+.*(rror|ailed)' "$file" | sed 's/^skipped: //')"
  elif [[ "$1" == *check ]] && [ "$2" -eq 9 ] && ! has_findings "$file"; then
    say "$1" "ok, but for what cuda/README.md explains"
  elif [ "$2" -ne 124 ] && [ "$2" -ne 137 ]; then
    failed=true
    say "$1" "FAILED with exit code $2"
  elif [[ "$1" == *check ]] && ! has_findings "$file"; then
    say "$1" "nothing found until it was stopped, after $3 s"
  else
    failed=true
    say "$1" "FAILED: stopped after $3 s"
  fi
}

# run PART MILLISECONDS: with that limit.
run() {
  local command=() limit own
  limit=$(in_seconds "$2")
  # Its own limit leaves it time to finish the cell or the checks in progress.
  own=$(($2 * 85 / 100 / 1000))
  echo "== $1, at most $limit s"
  if ! command_of "$1" $((own > 0 ? own : 1)); then
    say "$1" "skipped: the tool is not here"
    return
  fi
  timeout -k "$(in_seconds "$grace_ms")" "$limit" "${command[@]}" >"$output/$1.txt" 2>&1 </dev/null
  judge "$1" $? "$limit"
  tail -n 25 "$output/$1.txt"
}

grace_ms=$((grace * 1000 * seconds / total))
for part in "${parts[@]}"; do
  if [ -n "${limits[$part]:-}" ]; then
    run "$part" $((limits[$part] * 1000 * seconds / total))
    continue
  fi
  left=$((seconds * 1000 - ($(milliseconds) - began) - grace_ms))
  if [ "$left" -gt 0 ]; then run "$part" "$left"; else say "$part" "skipped: no time is left"; fi
done
echo "== summary, after $(in_seconds $(($(milliseconds) - began))) s"
printf '%s\n' "${summary[@]}"
! $failed
