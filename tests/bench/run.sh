#!/usr/bin/env bash
# Measures the sampler and the service against limits and peers of the same run. See --help.
set -euo pipefail

usage() {
  cat <<'END'
Usage: tests/bench/run.sh [--no-install] [options of compare.py]

Builds the release preset's benchmarks and prints
  - the CPU sampler's time as a multiple of a SIMD maximum of the same row
  - how many times faster it is than torch, transformers, llama.cpp and numpy on the same rows
  - what each way to send logits costs: against an empty call, and against a bare gRPC server
  - many calls of one row in flight, against a bare gRPC server
  - a step of a stream against a unary call with the same rows
  - the server against Triton with a sampler in torch

The peers go into Python environments of their own, in ${XDG_CACHE_HOME:-~/.cache}. The first
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
triton="$environment/triton/bin/python3"

# add PYTHON PACKAGE...
add() {
  "$1" -m pip --disable-pip-version-check install --quiet "${@:2}" ||
    echo "could not install ${*:2}" >&2
}

# Triton's Python backend is linked with the library of Debian's Python, so that the environment must
# be of the same one. Torch, which takes gigabytes, is that of the other environment.
install_triton() {
  [ -x "$triton" ] || /usr/bin/python3 -m venv "$environment/triton" || return 0
  add "$triton" nvidia-pytriton
  "$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
    >"$("$triton" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/peers.pth"
}

if $install; then
  [ -x "$python" ] || python3 -m venv "$environment"
  for peer in numpy torch transformers llama-cpp-python; do add "$python" "$peer"; done
  install_triton
fi

[ -f build/release/build.ninja ] || cmake --preset release
cmake --build build/release --target token-sampler-bench token_sampler_bench_c \
  token-sampler-clients-bench token-sampler-plane-bench token-sampler-stream-bench \
  token-sampler-server
grep -m 1 'model name' /proc/cpuinfo || true
date -u +%Y-%m-%d
build/release/bin/token-sampler-bench --vocab 128256
"$python" -B tests/bench/compare.py "$@" "$(find build/release -name libtoken_sampler_bench_c.so)"
echo
build/release/bin/token-sampler-plane-bench
echo
build/release/bin/token-sampler-clients-bench
echo
build/release/bin/token-sampler-stream-bench
if [ -x "$triton" ]; then
  "$triton" -B tests/bench/triton.py build/release/bin/token-sampler-server
else
  echo "skipped: Triton"
fi
