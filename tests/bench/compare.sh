#!/bin/bash
# Two commits' rows of a file that record.sh wrote, beside each other: subject, program, measure, both values, their
# ratio. Of several rows of one commit the last counts. Without commits, the last two in the file. Speeds are of machines:
# rows meet only where processor and threads are the same.
#
#   compare.sh RESULTS [BEFORE AFTER]
set -euo pipefail
results=$1 before=${2:-} after=${3:-}
if [ -z "$after" ]; then
  mapfile -t commits < <(tail -n +2 "$results" | cut -d, -f2 | awk '!seen[$0]++' | tail -n 2)
  [ ${#commits[@]} -eq 2 ] || { echo "$results has rows of fewer than two commits: nothing to compare" >&2; exit 1; }
  before=${commits[0]} after=${commits[1]}
fi
awk -F, -v before="$before" -v after="$after" '
  NR > 1 && ($2 == before || $2 == after) {
    key = $5 "," $6 "," $7 "," $3 "," $4
    if (!(key in order)) { order[key] = ++n; keys[n] = key }
    value[key, $2] = $8
  }
  END {
    printf "%-28s %-10s %-28s %12s %12s %7s\n", "subject", "program", "measure", before, after, "ratio"
    for (i = 1; i <= n; ++i) {
      split(keys[i], name, ","); b = value[keys[i], before]; a = value[keys[i], after]
      if (b == "" || a == "") continue
      printf "%-28s %-10s %-28s %12s %12s %7s\n", name[1], name[2], name[3], b, a, b + 0 != 0 ? sprintf("%.3f", a / b) : "-"
      ++found
    }
    if (!found) { print "no row of both commits on one machine" > "/dev/stderr"; exit 1 }
  }' "$results"
