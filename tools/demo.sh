#!/bin/bash
# The demo: calibrates the bundled model, quantizes it three ways, and shows what each costs. Fails when a perplexity leaves
# its window, so that it also guards the whole pipeline.
# usage: tools/demo.sh BUILD_FOLDER
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
steelyard=$build/steelyard
model=$root/tests/models/glm-flash-tiny-bf16.gguf
out=$build/demo
mkdir -p "$out"
cd "$out"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "Calibrating on calibration/default.txt"
"$steelyard" imatrix -m "$model" -f "$root/calibration/default.txt" -c 512 -o imatrix.gguf

say "Quantizing with plans/glm-4.7-flash-asym-2bit.plan"
"$steelyard" quantize "$model" asymmetric.gguf --plan "$root/plans/glm-4.7-flash-asym-2bit.plan" --imatrix imatrix.gguf
for type in Q8_0 Q4_K; do
  "$steelyard" quantize "$model" "$type.gguf" "$type" --imatrix imatrix.gguf > "$type.log"
done
ln -sf "$model" BF16.gguf

say "What it cost, on text that was not calibrated on (tests/text/heldout.txt, context 512)"
# name, lowest and highest perplexity that this pipeline may give
windows="BF16:@BF16@ Q8_0:@Q8_0@ Q4_K:@Q4_K@ asymmetric:@ASYM@"
failed=0
row='%-11s %12s %8s %10s %10s %9s\n'
# shellcheck disable=SC2059
printf "$row" file bytes bits PPL "mean KLD" "same top"
for entry in $windows; do
  name=${entry%%:*} window=${entry#*:}
  kld=(--kl-divergence-base base.kld)
  [ "$name" = BF16 ] || kld+=(--kl-divergence)
  "$steelyard" perplexity -m "$name.gguf" -f "$root/tests/text/heldout.txt" -c 512 "${kld[@]}" --json "$name.json" > "$name.ppl.log"
  "$steelyard" inspect "$name.gguf" --json > "$name.inspect.json"
  number() { sed -n "s/^ *\"$1\": \\([0-9.e+-]*\\).*/\\1/p" "$2" | head -n 1; }
  ppl=$(number perplexity "$name.json")
  mean_kld=$(number mean_kld "$name.json")
  same_top=$(number same_top "$name.json")
  # shellcheck disable=SC2059
  printf "$row" "$name" "$(stat -L -c %s "$name.gguf")" "$(printf %.3f "$(number bits_per_weight "$name.inspect.json")")" \
    "$(printf %.4f "$ppl")" "${mean_kld:+$(printf %.5f "$mean_kld")}" "${same_top:+$(awk "BEGIN { printf \"%.1f %%\", 100 * $same_top }")}"
  if ! awk "BEGIN { exit !($ppl >= ${window%-*} && $ppl <= ${window#*-}) }"; then
    echo "perplexity of $name is $ppl, expected ${window%-*} to ${window#*-}" >&2
    failed=1
  fi
done

say "The same prompt continued by each"
for entry in $windows; do
  name=${entry%%:*}
  printf '%-11s ' "$name"
  "$steelyard" run -m "$name.gguf" -p "The command prints" -n 24 2> "$name.run.log" | tr '\n' ' '
  echo
done
exit $failed
