#!/bin/bash
# Which lines the tests have run, per folder of src/: a table. Wants a build with --coverage whose tests have run
# (make coverage). Of a file that is compiled several times, a line counts as run when one of the compilations ran it.
# usage: coverage.sh BUILD_FOLDER
set -euo pipefail
build=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
find "$build" -name '*.gcda' -print0 | xargs -0 -r gcov --stdout --preserve-paths --relative-only --source-prefix "$root" \
  2>/dev/null | awk -F: '
  # "  count:line:source"; line 0 names the file.
  { gsub(/ /, "", $1); gsub(/ /, "", $2) }
  $2 == 0 { if ($3 == "Source") { file = $4; sub(/^.*src\//, "src/", file) } next }
  file !~ /^src\// || $1 == "-" { next }
  {
    at = file ":" $2
    if (!(at in known)) { known[at] = 1; split(file, parts, "/"); folder[at] = parts[2]; ++lines[parts[2]] }
    if ($1 !~ /^[#=]/ && !(at in ran)) { ran[at] = 1; ++run[folder[at]] }
  }
  END {
    for (f in lines) { printf "%-12s %8d %8d %6.1f %%\n", f, lines[f], run[f], 100 * run[f] / lines[f]; all += lines[f]; covered += run[f] }
    if (all == 0) { print "nothing was run with --coverage" > "/dev/stderr"; exit 1 }
    printf "%-12s %8d %8d %6.1f %%\n", "~all", all, covered, 100 * covered / all
  }' | sort | sed 's/^~all/all /; 1i folder          lines      run   share'
