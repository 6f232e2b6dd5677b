#!/bin/bash
# Speed of a model file against llama.cpp, in turn on the same threads: prefill of 512 tokens, decoding of 64, perplexity.
#
#   runtime.sh STEELYARD LLAMA_FOLDER TEXT MODEL...
#
# LLAMA_FOLDER has llama-bench and llama-perplexity. THREADS, ROUNDS (the best of each counts) and CHUNKS (of 512 tokens)
# come from the environment. Columns: tokens per second of llama.cpp, of ours exact and fast, each with its ratio to
# llama.cpp; and what ours makes of the machine: prefill as a share of the rate of F32 products, decoding of the bandwidth
# of memory.
set -euo pipefail
steelyard=$1 peer=$2 text=$3
shift 3
threads=${THREADS:-2} rounds=${ROUNDS:-3} chunks=${CHUNKS:-4}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
touch "$work/peer" "$work/exact" "$work/fast"

# Each of these appends a line "prefill decode perplexity [prefill share, decode share]", in tokens per second.
seconds() { local TIMEFORMAT=%R; { time "$@" > "$work/log" 2>&1; } 2>&1 | tail -1; }
rate() { awk -v s="$1" -v n=$((chunks * 512)) 'BEGIN { printf "%.2f", n / s }'; }
theirs() {
  "$peer/llama-bench" -m "$1" -p 512 -n 64 -t "$threads" -r 1 -o json > "$work/bench.json" 2> /dev/null
  local speeds; speeds=$(awk -F'[:,]' '/"avg_ts"/ { printf "%s ", $2 }' "$work/bench.json")
  echo "$speeds $(rate "$(seconds "$peer/llama-perplexity" -m "$1" -f "$text" -c 512 --chunks "$chunks" -t "$threads")")" >> "$work/peer"
}
ours() {
  # One after the other: the bundled model's context ends at 512. Columns: context, time ("0.1 s", or "-" which is one
  # field less), prefill, decode, shares.
  "$steelyard" bench -m "$1" -c 512 -n 0 -t "$threads" -r 1 --precision "$2" > "$work/bench"
  "$steelyard" bench -m "$1" -c 0 -n 64 -t "$threads" -r 1 --precision "$2" >> "$work/bench"
  local rates; rates=$(rate "$(seconds "$steelyard" perplexity -m "$1" -f "$text" -c 512 --chunks "$chunks" -t "$threads" --precision "$2")")
  awk -v ppl="$rates" '$1 == "512" { prefill = $4; of_products = $6 } $1 == "0" { decode = $4; of_memory = $6 }
    END { print prefill, decode, ppl, of_products, of_memory }' \
    "$work/bench" >> "$work/$2"
}

printf '%-22s %-10s %10s %10s %6s %10s %6s %8s\n' model what llama.cpp exact ratio fast ratio share
for model in "$@"; do
  : > "$work/peer"; : > "$work/exact"; : > "$work/fast"
  for _ in $(seq "$rounds"); do
    theirs "$model"
    ours "$model" exact
    ours "$model" fast
  done
  for column in 1 2 3; do
    what=$(echo prefill decode perplexity | cut -d' ' -f$column)
    awk -v c=$column -v what="$what" -v model="$(basename "$model" .gguf)" '
      FNR == 1 { file++ }
      $c > best[file] { best[file] = $c; share[file] = c < 3 ? $(c + 3) " %" : "" }
      END { printf "%-22s %-10s %10.1f %10.1f %6.2f %10.1f %6.2f %8s\n", model, what, best[1], best[2], best[2] / best[1],
            best[3], best[3] / best[1], share[3] }' "$work/peer" "$work/exact" "$work/fast"
  done
done
