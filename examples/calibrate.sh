#!/bin/bash
# The same types three times: by importance, with error feedback on a calibration text, and with error feedback on text
# that the model has written itself. The mean KL divergence of each.
set -euo pipefail
cd "$(dirname "$0")/.."
steelyard=${STEELYARD:-build/steelyard}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
model=tests/models/glm-flash-tiny-bf16.gguf plan=plans/glm-4.7-flash-asym-2bit.plan
calibration=calibration/default.txt text=tests/text/heldout.txt importance=$work/imatrix.gguf

"$steelyard" imatrix -m $model -f $calibration --chunks 32 -o "$importance" > "$work/log"
"$steelyard" quantize $model "$work/importance.gguf" --plan $plan --imatrix "$importance" > "$work/log"
"$steelyard" quantize $model "$work/calibrated.gguf" --plan $plan --imatrix "$importance" --calibrate $calibration \
  --chunks 32 > "$work/log"
"$steelyard" quantize $model "$work/own.gguf" --plan $plan --imatrix "$importance" --calibrate self --chunks 32 \
  --save-text "$work/own.jsonl" > "$work/log"
"$steelyard" perplexity -m $model -f $text --chunks 16 --kl-divergence-base "$work/base.kld" > "$work/log"
for name in importance calibrated own; do
  "$steelyard" perplexity -m "$work/$name.gguf" -f $text --chunks 16 --kl-divergence-base "$work/base.kld" --kl-divergence |
    sed -n "s/^Mean KLD:/$name: mean KLD/p"
done
