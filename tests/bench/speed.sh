#!/bin/bash
# One thread of ours against one of llama.cpp's llama-quantize, in turn, on the same tensors with the same importance: user
# seconds of the whole command, the least of ROUNDS.
#
#   speed.sh STEELYARD LLAMA_QUANTIZE MODEL IMATRIX PATTERN [TYPE...]
#
# PATTERN: the tensors that get the type; ours keeps all others, theirs copies them as BF16.
set -euo pipefail
steelyard=$1 peer=$2 model=$3 imatrix=$4 pattern=$5
shift 5
types=("$@")
[ ${#types[@]} -gt 0 ] || types=(IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S Q2_K Q4_K Q5_K)
source "$(dirname "$0")/record.sh"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

seconds() { local TIMEFORMAT=%U; { time "$@" > "$work/log" 2>&1; } 2>&1; }
ours() { seconds "$steelyard" quantize "$model" "$work/ours.gguf" --plan "$work/one.plan" --imatrix "$imatrix" -t 1 --effort "$1"; }
theirs() {
  seconds "$peer" --imatrix "$imatrix" --token-embedding-type bf16 --output-tensor-type bf16 \
    --tensor-type "$pattern=$1" --tensor-type ".*=bf16" "$model" "$work/theirs.gguf" Q4_K_S 1
}
least() { awk -v a="$1" -v b="$2" 'BEGIN { print a < b ? a : b }'; }

printf '%-8s %10s %8s %6s %8s %6s\n' type llama.cpp fast ratio normal ratio
for type in "${types[@]}"; do
  printf '%s = %s\n* = keep\n' "$pattern" "$type" > "$work/one.plan"
  peer_s=999 fast_s=999 normal_s=999
  for _ in $(seq "${ROUNDS:-3}"); do
    peer_s=$(least "$(theirs "$type")" $peer_s)
    fast_s=$(least "$(ours fast)" $fast_s)
    normal_s=$(least "$(ours normal)" $normal_s)
  done
  record "$type" llama.cpp 'quantize_(s)' "$peer_s"
  record "$type" fast 'quantize_(s)' "$fast_s"
  record "$type" normal 'quantize_(s)' "$normal_s"
  awk -v t="$type" -v p=$peer_s -v f=$fast_s -v n=$normal_s \
    'BEGIN { printf "%-8s %10.2f %8.2f %6.1f %8.2f %6.1f\n", t, p, f, p / f, n, p / n }'
done
