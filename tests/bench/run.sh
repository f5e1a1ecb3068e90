#!/usr/bin/env bash
# Measures the CPU sampler against a plain SIMD maximum and against its peers. See --help.
set -euo pipefail

usage() {
  cat <<'END'
Usage: tests/bench/run.sh [--no-install] [options of compare.py]

Builds the release preset's benchmarks and prints
  - the sampler's time as a multiple of a SIMD maximum of the same row
  - how many times faster it is than torch, transformers, llama.cpp and numpy on the same rows

The peers go into a Python environment of their own, in ${XDG_CACHE_HOME:-~/.cache}. The first
run downloads gigabytes and compiles llama.cpp, which takes 10 minutes. A peer that cannot be
installed is skipped.

  --no-install  use the peers that are there already
  --vocab N ...    lengths of rows (default: 32000 128256 262144)
  --batch N ...    numbers of rows (default: 1 8 64)
  --seconds S      per cell of the comparison (default: 1)
END
}

install=true
case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  --no-install) install=false; shift ;;
esac

cd "$(dirname "$0")/../.."
environment="${XDG_CACHE_HOME:-$HOME/.cache}/token-sampler-bench"
python="$environment/bin/python3"
if $install; then
  [ -x "$python" ] || python3 -m venv "$environment"
  for peer in numpy torch transformers llama-cpp-python; do
    "$python" -m pip install --quiet "$peer" || echo "could not install $peer" >&2
  done
fi

[ -f build/release/build.ninja ] || cmake --preset release
cmake --build build/release --target token-sampler-bench token_sampler_bench_c
grep -m 1 'model name' /proc/cpuinfo || true
date -u +%Y-%m-%d
build/release/bin/token-sampler-bench --vocab 128256
"$python" -B tests/bench/compare.py "$@" "$(find build/release -name libtoken_sampler_bench_c.so)"
