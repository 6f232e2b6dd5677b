#!/bin/bash
# Importance, a plan, quantization, and what it cost on text that was not calibrated on.
set -euo pipefail
cd "$(dirname "$0")/.."
steelyard=${STEELYARD:-build/steelyard}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
model=tests/models/glm-flash-tiny-bf16.gguf plan=plans/glm-4.7-flash-asym-2bit.plan text=tests/text/heldout.txt

"$steelyard" imatrix -m $model -f calibration/default.txt --chunks 64 -o "$work/imatrix.gguf"
"$steelyard" plan $model --plan $plan --imatrix "$work/imatrix.gguf" | tail -n 12
"$steelyard" quantize $model "$work/small.gguf" --plan $plan --imatrix "$work/imatrix.gguf" > "$work/log"
"$steelyard" perplexity -m $model -f $text --chunks 16 --kl-divergence-base "$work/base.kld" > "$work/log"
"$steelyard" perplexity -m "$work/small.gguf" -f $text --chunks 16 --kl-divergence-base "$work/base.kld" --kl-divergence |
  grep -E '^(Final|Mean KLD|Same top)'
