#!/bin/bash
# The demo: calibrates the bundled model, quantizes it three ways, and shows what each costs. Fails when a perplexity or a
# divergence leaves its window, so that it also guards the whole pipeline.
# usage: tools/demo.sh announce|run BUILD_FOLDER (relative to the root of the repository)
# announce says what will happen and how long it takes, before anything is built.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$2
steelyard=$build/steelyard
out=$build/demo

if [ "$1" = announce ]; then
  cores=$(nproc)
  if [ -x "$steelyard" ]; then
    building="Brings $steelyard up to date: seconds, or a few minutes after many changes."
  else
    building="Installs missing packages and builds $steelyard: about $(((8 + cores - 1) / cores)) minutes on $cores cores."
  fi
  cat <<END
The demo
  1. $building
  2. Collects importance over calibration/default.txt with the bundled model of 14 million parameters.
  3. Quantizes the model in three ways: Q8_0, Q4_K, and by a plan that gives experts 2 to 3 bits and the rest 4 to 6.
  4. Measures on other text what each costs, and lets each continue a prompt.
Steps 2 to 4 take one to two minutes. All files are written into $out.
END
  exit
fi

model=tests/models/glm-flash-tiny-bf16.gguf
heldout=tests/text/heldout.txt
mkdir -p "$out"

say() { printf '\n== %s\n' "$*"; }

say "Calibrating on calibration/default.txt"
"$steelyard" imatrix -m "$model" -f calibration/default.txt -c 512 -o "$out/imatrix.gguf"

say "Quantizing with plans/glm-4.7-flash-asym-2bit.plan"
"$steelyard" quantize "$model" "$out/asymmetric.gguf" --plan plans/glm-4.7-flash-asym-2bit.plan --imatrix "$out/imatrix.gguf"
for type in Q8_0 Q4_K; do
  "$steelyard" quantize "$model" "$out/$type.gguf" "$type" --imatrix "$out/imatrix.gguf" > "$out/$type.log" 2>&1
done
cp --remove-destination "$model" "$out/BF16.gguf"

say "What it cost, on text that was not calibrated on ($heldout, context 512)"
# name, lowest and highest perplexity, highest mean KLD
windows="BF16 66.5 66.8 0
Q8_0 66.4 66.9 0.0006
Q4_K 66.3 68.8 0.0135
asymmetric 66.1 67.6 0.0155"

# The number that a report of ours has under a key; nothing when it has none.
number() { sed -n "s/^ *\"$1\": \\([0-9.e+-]*\\).*/\\1/p" "$2" | head -n 1; }
row='%-11s %12s %8s %10s %10s %9s\n'
status=0
# shellcheck disable=SC2059
printf "$row" file bytes bits PPL "mean KLD" "same top"
while read -r name lowest highest most_kld; do
  base=(--kl-divergence-base "$out/base.kld")
  [ "$name" = BF16 ] || base+=(--kl-divergence)
  "$steelyard" perplexity -m "$out/$name.gguf" -f "$heldout" -c 512 "${base[@]}" --json "$out/$name.json" > "$out/$name.ppl.log"
  "$steelyard" inspect "$out/$name.gguf" --json > "$out/$name.inspect.json"
  ppl=$(number perplexity "$out/$name.json")
  kld=$(number mean_kld "$out/$name.json")
  top=$(number same_top "$out/$name.json")
  # shellcheck disable=SC2059
  printf "$row" "$name" "$(stat -c %s "$out/$name.gguf")" "$(printf %.3f "$(number bits_per_weight "$out/$name.inspect.json")")" \
    "$(printf %.4f "$ppl")" "${kld:+$(printf %.5f "$kld")}" "${top:+$(awk "BEGIN { printf \"%.1f %%\", 100 * $top }")}"
  if ! awk "BEGIN { exit !($ppl >= $lowest && $ppl <= $highest && ${kld:-0} <= $most_kld) }"; then
    echo "$name: expected a perplexity of $lowest to $highest and a mean KLD of at most $most_kld" >&2
    status=1
  fi
done <<< "$windows"

say "The same prompt, continued by each"
while read -r name _; do
  printf '%-11s ' "$name"
  "$steelyard" run -m "$out/$name.gguf" -p "A directory is" -n 24 2> "$out/$name.run.log" | tr -s ' \n' ' '
  echo
done <<< "$windows"

size() { stat -c %s "$out/$1.gguf"; }
smaller=$((100 - 100 * $(size asymmetric) / $(size Q4_K)))
say "What to look at"
cat <<END
The model is tiny and knows nothing. What counts is the distance to its own BF16: mean KLD (0: the same predictions), and
how often the likeliest token is the same.
  * asymmetric is $smaller % smaller than Q4_K and about as near to BF16, although most of its weights have 2 to 3 bits.
    The plan says which tensors have more, and why: plans/glm-4.7-flash-asym-2bit.plan
  * What became of each tensor:  $steelyard inspect $out/asymmetric.gguf
  * The file is an ordinary GGUF. It runs here:  $steelyard run -m $out/asymmetric.gguf -p "A directory is"
With a model of yours, docs/quantize.md and the worked example of README.md go on from here. The shortest way:
  $steelyard quantize MODEL-BF16.gguf MODEL-Q4_K_M.gguf --preset Q4_K_M
END
exit $status
