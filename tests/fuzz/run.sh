#!/bin/sh
# run.sh BUILD SECONDS [TARGET...]: runs fuzz targets of a build for so many seconds each, one after the other (all
# without names), and prints a row for each. What they find lies in BUILD/fuzz: corpus/TARGET is kept and taken up by the
# next run, crashes/TARGET has the inputs that ended a process. Fails when there are new ones. JOBS: processes per target.
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
# An Error is no fault, and thrown often: a small quarantine and allocations without their stacks (a sixth of the time)
# keep that fast. A replay of what was found shows them.
export ASAN_OPTIONS=detect_leaks=0:malloc_context_size=0:quarantine_size_mb=16
export UBSAN_OPTIONS=print_stacktrace=1
folder=$build/fuzz
here=$(dirname "$0")

# run TARGET LOG: one process after the other until the time is over, since a fault ends each. Memory is limited as a whole
# and in one piece: no input of 64 kB justifies more.
run() {
  end=$(($(date +%s) + seconds))
  : > "$2"
  while left=$((end - $(date +%s))) && [ $left -gt 0 ]; do
    set -- "$1" "$2" "$folder/corpus/$1" "$folder/seeds/$1"
    [ ! -d "$here/found/$1" ] || set -- "$@" "$here/found/$1"
    target=$1 log=$2
    shift 2
    "$build/tests/${target}_fuzz" -max_total_time=$left -max_len=65536 -timeout=10 -rss_limit_mb=2048 \
      -malloc_limit_mb=256 -detect_leaks=0 -print_final_stats=1 -artifact_prefix="$folder/crashes/$target/" "$@" \
      >> "$log" 2>&1 || true
    set -- "$target" "$log"
  done
}

failed=0
printf '%-12s %12s %8s %8s %9s %8s\n' target executions edges features inputs found
for target in "$@"; do
  mkdir -p "$folder/corpus/$target" "$folder/crashes/$target" "$folder/logs"
  before=$(find "$folder/crashes/$target" -type f | wc -l)
  job=0
  while [ $job -lt "${JOBS:-1}" ]; do
    job=$((job + 1))
    run "$target" "$folder/logs/$target.$job" &
  done
  wait
  after=$(find "$folder/crashes/$target" -type f | wc -l)
  cat "$folder/logs/$target".* | awk -v target="$target" -v found=$((after - before)) \
    -v inputs="$(find "$folder/corpus/$target" -type f | wc -l)" '
    /^stat::number_of_executed_units:/ { n += $2 }
    /^#[0-9].* cov: / {
      for (i = 1; i < NF; ++i) {
        if ($i == "cov:" && $(i + 1) + 0 > edges) edges = $(i + 1)
        if ($i == "ft:" && $(i + 1) + 0 > features) features = $(i + 1)
      }
    }
    END { printf "%-12s %12d %8d %8d %9d %8d\n", target, n, edges, features, inputs, found }'
  [ "$after" -eq "$before" ] || failed=1
done
[ $failed -eq 0 ] || echo "inputs that were found lie in $folder/crashes; docs/fuzzing.md says what to do with them"
exit $failed
