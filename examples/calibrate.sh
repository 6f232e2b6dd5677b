#!/bin/bash
# The same types once by importance and once with error feedback on a calibration text: the mean KL divergence of both.
set -euo pipefail
cd "$(dirname "$0")/.."
steelyard=${STEELYARD:-build/steelyard}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
model=tests/models/glm-flash-tiny-bf16.gguf plan=plans/glm-4.7-flash-asym-2bit.plan
calibration=calibration/default.txt text=tests/text/heldout.txt

"$steelyard" imatrix -m $model -f $calibration --chunks 32 -o "$work/imatrix.gguf" > "$work/log"
"$steelyard" quantize $model "$work/importance.gguf" --plan $plan --imatrix "$work/imatrix.gguf" > "$work/log"
"$steelyard" quantize $model "$work/calibrated.gguf" --plan $plan --imatrix "$work/imatrix.gguf" \
  --calibrate $calibration --chunks 32 > "$work/log"
"$steelyard" perplexity -m $model -f $text --chunks 16 --kl-divergence-base "$work/base.kld" > "$work/log"
for name in importance calibrated; do
  "$steelyard" perplexity -m "$work/$name.gguf" -f $text --chunks 16 --kl-divergence-base "$work/base.kld" --kl-divergence |
    sed -n "s/^Mean KLD:/$name: mean KLD/p"
done
