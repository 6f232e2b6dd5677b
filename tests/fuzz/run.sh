#!/bin/sh
# run.sh BUILD SECONDS [TARGET...]: runs fuzz targets of a build for so many seconds each, one after the other (all
# without names), and prints a row for each. What they find lies in BUILD/fuzz: corpus/TARGET is kept and taken up by the
# next run, crashes/TARGET has the inputs that ended a run. Fails when there are new ones. JOBS: processes per target.
set -eu
build=$1 seconds=$2
shift 2
if [ $# -eq 0 ]; then
  for program in "$build"/tests/*_fuzz; do
    name=${program##*/}
    set -- "$@" "${name%_fuzz}"
  done
fi
export OMP_NUM_THREADS=1
# An Error is no fault, and thrown often: short stacks and a small quarantine keep that fast. Leaks would be looked for
# after every input that leaves more than it found, as tables do that are made once.
export ASAN_OPTIONS=detect_leaks=0:malloc_context_size=4:quarantine_size_mb=16
export UBSAN_OPTIONS=print_stacktrace=1
folder=$build/fuzz
failed=0
printf '%-12s %12s %8s %8s %9s %8s\n' target executions edges features 'inputs' found
for target in "$@"; do
  mkdir -p "$folder/corpus/$target" "$folder/crashes/$target" "$folder/logs"
  seeds="$folder/seeds/$target"
  found=$(dirname "$0")/found/$target
  [ ! -d "$found" ] || seeds="$seeds $found"
  log=$folder/logs/$target
  before=$(find "$folder/crashes/$target" -type f | wc -l)
  # In processes of their own, so that what is found ends no run. Memory is limited as a whole and in one piece: no input
  # of 64 kB justifies more.
  # shellcheck disable=SC2086  # seeds are folders
  "$build/tests/${target}_fuzz" -fork="${JOBS:-1}" -ignore_crashes=1 -ignore_ooms=1 -ignore_timeouts=1 \
    -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=256 -detect_leaks=0 \
    -artifact_prefix="$folder/crashes/$target/" "$folder/corpus/$target" $seeds > "$log" 2>&1 || true
  last=$(grep '^#[0-9]*: cov:' "$log" | tail -n 1)
  after=$(find "$folder/crashes/$target" -type f | wc -l)
  echo "$last" | awk -v target="$target" -v found=$((after - before)) -v inputs="$(find "$folder/corpus/$target" -type f | wc -l)" '
    { sub(/^#/, "", $1); sub(/:$/, "", $1)
      printf "%-12s %12s %8s %8s %9s %8s\n", target, $1, $3, $5, inputs, found }'
  [ "$after" -eq "$before" ] || failed=1
done
[ $failed -eq 0 ] || echo "inputs that were found lie in $folder/crashes; docs/fuzzing.md says what to do with them"
exit $failed
