#!/usr/bin/env bash
# From a bare machine to sampled tokens: installs what is missing, builds, starts a server, samples
# real logits with the client, shows that a seed repeats its tokens, and stops the server.
#
# Usage: deploy/quickstart.sh
#
# Builds build/release and leaves it there, so that a second run takes seconds. Nothing else stays.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -gt 0 ]; then
  sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
  [ "$1" = --help ] || [ "$1" = -h ] || exit 2
  exit 0
fi

bin=build/release/bin
data=tests/data
scratch=$(mktemp -d)
server_pid=

say() { printf '\n== %s\n' "$*"; }
fail() {
  printf '\nquickstart failed: %s\n' "$*" >&2
  exit 1
}
clean_up() {
  if [ -n "$server_pid" ]; then
    kill -TERM "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
  fi
  rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Shows the last [done/all] of the build while it runs, on a terminal.
show_progress() {
  local line
  while IFS= read -r line; do
    if [ -t 1 ] && [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]]; then
      printf '\r   %s of %s steps ' "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
    fi
  done
  if [ -t 1 ]; then printf '\r%30s\r' ''; fi
}

build() {
  # A tree that is configured already, with its tests perhaps, stays as it is.
  if [ ! -f build/release/build.ninja ]; then
    cmake --preset release -DTOKEN_SAMPLER_TESTS=OFF || return
  fi
  cmake --build build/release --target token-sampler-server token-sampler-client
}

start_server() {
  "$bin/token-sampler-server" --listen=127.0.0.1:0 --address-file="$scratch/address" \
    >"$scratch/server.log" 2>&1 &
  server_pid=$!
  local tries
  for ((tries = 0; tries < 300; ++tries)); do
    if [ -s "$scratch/address" ]; then return; fi
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.1
  done
  cat "$scratch/server.log" >&2
  fail "the server did not start"
}

stop_server() {
  kill -TERM "$server_pid"
  local code=0
  wait "$server_pid" || code=$?
  server_pid=
  if [ "$code" -ne 0 ]; then
    cat "$scratch/server.log" >&2
    fail "the server ended with exit code $code"
  fi
}

sample() {  # sample SEED [OPTION...]
  local seed=$1
  shift
  "$bin/token-sampler-client" sample --address "$address" --logits "$data/kjv_trigram_logits_f16.npy" \
    --seed "$seed" "$@"
}

tokens() {  # tokens SEED: one line of token ids per row
  sample "$1" --format json >"$scratch/answer.json" || fail "sampling with seed $1"
  tr -d ' \n' <"$scratch/answer.json" | grep -o '"token_ids":\[[0-9,]*\]' | tr -dc '0-9,\n'
}

say "Installing what is missing"
./deploy/install-deps.sh build

say "Building (minutes the first time, seconds later)"
. deploy/ccache.sh
mkdir -p build/logs
build_log=build/logs/quickstart-build.log
if ! build 2>&1 | tee "$build_log" | show_progress; then
  tail -n 40 "$build_log" >&2
  fail "the build; its whole output is in $build_log"
fi

say "Starting token-sampler-server on a free port of this machine"
start_server
address=$(head -n 1 "$scratch/address")
"$bin/token-sampler-client" info --address "$address" || fail "asking the server about itself"

say "Sampling one word for each of 63 contexts from the King James Bible, seed 1611"
# Wide enough for all five words; the client fits its tables to the terminal.
COLUMNS=150 sample 1611 --vocab "$data/kjv_vocab.txt" --contexts "$data/kjv_contexts.tsv" \
  --logprobs 5 >"$scratch/table" || fail "sampling"
cat "$scratch/table"

say "Sampling again, with the same seed and with another one"
tokens 1611 >"$scratch/first"
tokens 1611 >"$scratch/again"
tokens 1769 >"$scratch/other"
rows=$(wc -l <"$scratch/first")
[ "$rows" -eq 63 ] || fail "expected tokens for 63 rows, got $rows"
count_same() { paste "$scratch/first" "$1" | awk '$1 == $2 {++n} END {print n + 0}'; }
same=$(count_same "$scratch/again")
same_other=$(count_same "$scratch/other")
echo "seed 1611 again: $same of $rows tokens are the same"
echo "seed 1769:       $((rows - same_other)) of $rows tokens differ"
[ "$same" -eq "$rows" ] || fail "the same seed must repeat every token"
[ "$same_other" -lt "$rows" ] || fail "another seed must change some tokens"

stop_server
say "All well: the server has stopped, and nothing runs any more"
cat <<END
Start a server at 127.0.0.1:50051, with the programs on PATH:
  export PATH="$PWD/$bin:\$PATH"; token-sampler-server --shared-memory=system &
Next:
  token-sampler-server --help
  token-sampler-client --help
  README.md              how to send logits, and to choose seed, step and stream
  client/README.md       a worked example of every client command
  sampler/SPEC.md        why the same seed gives the same token, on every backend
  ./tests/run.sh         every test
END
