#!/bin/bash
# clang-tidy, with the checks of .clang-tidy, over the sources that a build compiles; what is compiled once per target only
# for the first of them. FILES, words that a path must have one of, restricts it.
# usage: tidy.sh BUILD_FOLDER [FILES...]
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1; shift
files=$(sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' "$build/compile_commands.json" |
  grep -vE '\.(avx2|avx512|avx512vnni|one_lane)\.cc$|\.cu' | sort -u)
if [ $# -gt 0 ]; then
  files=$(grep -E "$(IFS='|'; echo "$*")" <<< "$files")
fi
tidy=$(command -v clang-tidy-14 || command -v clang-tidy) || { echo "clang-tidy is not installed: apt-get install clang-tidy-14" >&2; exit 1; }
# shellcheck disable=SC2016
xargs -P "$(nproc)" -I{} sh -c 'if "$1" -p "$2" --quiet "$3" > "$3.tidy" 2>&1; then :; else grep -vE "warnings? generated|^Suppressed|^Use -header" "$3.tidy"; touch "$2/tidy-failed"; fi; rm -f "$3.tidy"' \
  _ "$tidy" "$build" {} <<< "$files"
[ ! -e "$build/tidy-failed" ] || { rm "$build/tidy-failed"; exit 1; }
echo "clang-tidy: $(wc -l <<< "$files") sources, no findings"
