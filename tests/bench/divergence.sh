#!/bin/bash
# What one type for chosen tensors costs a model: mean KL divergence from the source on held-out text, per effort, and,
# given llama.cpp's llama-quantize, the same of its file with the same types and importance.
#
#   divergence.sh STEELYARD MODEL IMATRIX TEXT CHUNKS PATTERN [LLAMA_QUANTIZE] [TYPE...]
#
# PATTERN: the tensors that get the type; all others are kept. Columns: mean KLD of llama-quantize's file, and at each
# effort that of ours and the ratio of the two.
set -euo pipefail
steelyard=$1 model=$2 imatrix=$3 text=$4 chunks=$5 pattern=$6 peer=${7:-}
shift 6; [ $# -gt 0 ] && shift
types=("$@")
[ ${#types[@]} -gt 0 ] || types=(IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS
  Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 TQ1_0 TQ2_0 MXFP4)
source "$(dirname "$0")/record.sh"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

perplexity() { "$steelyard" perplexity -m "$1" -f "$text" --chunks "$chunks" --kl-divergence-base "$work/base.kld" "${@:2}"; }
divergence() { perplexity "$1" --kl-divergence | awk '/^Mean KLD:/ { print $3 }'; }

perplexity "$model" > "$work/base.log"
printf '%-8s %10s' type llama.cpp; printf ' %10s %6s' fast ratio normal ratio best ratio; echo
for type in "${types[@]}"; do
  theirs=-
  if [ -n "$peer" ]; then
    # The base type counts for nothing here, but must be a quantized one for rules to be heard.
    "$peer" --imatrix "$imatrix" --token-embedding-type bf16 --output-tensor-type bf16 --tensor-type "$pattern=$type" \
      --tensor-type ".*=bf16" "$model" "$work/theirs.gguf" Q4_K_S > "$work/log" 2>&1 || { tail -3 "$work/log"; exit 1; }
    theirs=$(divergence "$work/theirs.gguf")
    record "$type" llama.cpp mean_KLD "$theirs"
  fi
  printf '%-8s %10s' "$type" "$theirs"
  for effort in fast normal best; do
    printf '%s = %s\n* = keep\n' "$pattern" "$type" > "$work/one.plan"
    "$steelyard" quantize "$model" "$work/ours.gguf" --plan "$work/one.plan" --imatrix "$imatrix" --effort "$effort" > "$work/log"
    ours=$(divergence "$work/ours.gguf"); rm "$work/ours.gguf"
    record "$type" "$effort" mean_KLD "$ours"
    printf ' %10s %6s' "$ours" "$(awk -v a="$ours" -v b="$theirs" 'BEGIN { print (b + 0 > 0 ? sprintf("%.3f", a / b) : "-") }')"
  done
  echo
done
