#!/bin/bash
# Speed of model files, ours at both precisions and llama.cpp's, in turn on the same threads: a Markdown table of tokens
# per second of prefill, of decoding and, given a text, of perplexity.
#
#   runtime.sh STEELYARD LLAMA_FOLDER TEXT MODEL...
#
# LLAMA_FOLDER has llama-bench and llama-perplexity; it and TEXT may be empty, and their columns are left out. "-" is a
# file that llama.cpp does not run. From the environment: THREADS, ROUNDS (the best of each counts), PREFILL and DECODE
# (tokens), CHUNKS (of 512 tokens, for perplexity). What bounds `fast`: prefill as a share of the rate of F32 products,
# decoding as a share of memory's bandwidth, both the highest that any run of ours has measured. Therefore the table comes
# at the end, or when something ends the script before: what has been measured until then.
set -euo pipefail
steelyard=$1 peer=$2 text=$3
shift 3
threads=${THREADS:-2} rounds=${ROUNDS:-3} prefill=${PREFILL:-256} decode=${DECODE:-64} chunks=${CHUNKS:-4}
work=$(mktemp -d) measured=()
source "$(dirname "$0")/record.sh"

# Tokens per second of a perplexity program, by the clock; nothing without a text.
perplexity() {
  [ -n "$text" ] || return 0
  local TIMEFORMAT=%R seconds
  seconds=$({ time "$@" -f "$text" -c 512 --chunks "$chunks" -t "$threads" > "$work/log" 2>&1; } 2>&1) || { tail -3 "$work/log" >&2; return 1; }
  awk -v s="$seconds" -v n=$((chunks * 512)) 'BEGIN { print n / s }'
}

# A field of a JSON file has a line of its own. Both append to "runs": model, program, prefill, decode, perplexity, and
# ours what a token costs (bytes, products) and what the machine gives (bytes and products per second).
theirs() {
  local speeds score
  if "$peer/llama-bench" -m "$1" -p "$prefill" -n "$decode" -t "$threads" -r 1 -o json > "$work/json" 2> "$work/log"; then
    speeds=$(awk -F'[:,]' '/"avg_ts"/ { printf "%s ", $2 }' "$work/json")
    score=$(perplexity "$peer/llama-perplexity" -m "$1")
    echo "$1 llama.cpp $speeds ${score:-0}" >> "$work/runs"
  fi
}
ours() {
  local speeds limits score
  "$steelyard" bench -m "$1" -c "0,$prefill" -n "$decode" -t "$threads" --precision "$2" --json "$work/json" > "$work/log"
  # llama-bench decodes from an empty context, too.
  speeds=$(awk -F'[:,]' '/"context"/ { n = $2 + 0 } /"prefill_tokens_per_second"/ && n { prefill = $2 }
    /"decode_tokens_per_second"/ && !n { decode = $2 } END { print prefill, decode }' "$work/json")
  limits=$(awk -F'[:,]' '/"bytes_per_token"|"products_per_token"|"bandwidth"|"f32_products_per_second"/ { printf "%s ", $2 }' \
    "$work/json")
  score=$(perplexity "$steelyard" perplexity -m "$1" --precision "$2")
  echo "$1 $2 $speeds ${score:-0} $limits" >> "$work/runs"
}

# The table: its head, or the row of a model.
table() {
  awk -v model="$1" -v peer="$peer" -v text="$text" -v head="prefill $prefill,decode $decode,perplexity" '
    function cell(value) { line = line " " value " |" }
    function speed(who, what, ratio) {
      if (model == "") cell(ratio ? who " | ratio" : heads[what] ": " who)
      else {
        of = best[who, what]; base = best["llama.cpp", what]
        cell(of ? sprintf("%.1f", of) : "-")
        if (ratio) cell(of && base ? sprintf("%.2f", of / base) : "-")
      }
    }
    function bound(name, rate, cost, limit) { cell(model == "" ? name : sprintf("%.0f", 100 * rate * cost / limit)) }
    {
      if ($1 == model) for (what = 1; what <= 3; ++what) if ($(what + 2) > best[$2, what]) best[$2, what] = $(what + 2)
      if ($1 == model && NF > 5) { bytes = $6; products = $7 }
      if ($8 > bandwidth) bandwidth = $8
      if ($9 > product_rate) product_rate = $9
    }
    END {
      split(head, heads, ","); line = "|"
      name = model; gsub(/.*\/|\.gguf$/, "", name); cell(model == "" ? "model" : name)
      cell(model == "" ? "MB/token" : sprintf("%.1f", bytes * 1e-6))
      for (what = 1; what <= (text == "" ? 2 : 3); ++what) {
        if (peer != "") speed("llama.cpp", what)
        speed("fast", what, peer != "")
        speed("exact", what, peer != "")
        if (what == 1) bound("% products", best["fast", 1], products, product_rate)
        if (what == 2) bound("% memory", best["fast", 2], bytes, bandwidth)
      }
      print line
      if (model == "") { gsub(/[^|]+/, " --- ", line); print line }
    }' "$work/runs"
}

# The best of each figure goes into the file of results.
keep() {
  local name program measure value
  while read -r name program measure value; do record "$name" "$program" "$measure" "$value"; done < <(awk \
    -v heads="prefill $prefill (t/s),decode $decode (t/s),perplexity (t/s)" '
    { split(heads, head, ",")
      for (what = 1; what <= 3; ++what) if ($(what + 2) > best[$1, $2, what]) best[$1, $2, what] = $(what + 2)
      if (!(($1, $2) in seen)) { seen[$1, $2] = 1; order[++n] = $1 " " $2 } }
    END { for (i = 1; i <= n; ++i) { split(order[i], of, " "); name = of[1]; gsub(/.*\/|\.gguf$/, "", name)
      for (what = 1; what <= 3; ++what) if (best[of[1], of[2], what]) {
        measure = head[what]; gsub(/ /, "_", measure); print name, of[2], measure, best[of[1], of[2], what] } } }' "$work/runs")
}

finish() {
  keep
  table ""
  local model
  for model in "${measured[@]}"; do table "$model"; done
  awk -v threads="$threads" '$8 > bandwidth { bandwidth = $8 } $9 > rate { rate = $9 }
    END { printf "\n%d threads, at best %.1f GB/s and %.1f G products/s.\n", threads, bandwidth * 1e-9, rate * 1e-9 }' "$work/runs"
  rm -rf "$work"
}
: > "$work/runs"
trap finish EXIT

for model in "$@"; do
  echo "$model" >&2
  for _ in $(seq "$rounds"); do
    [ -z "$peer" ] || theirs "$model"
    ours "$model" fast
    ours "$model" exact
  done
  measured+=("$model")
done
