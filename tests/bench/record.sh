# Keeps what the other scripts measure: sourced by them. record SUBJECT PROGRAM MEASURE VALUE appends a row to the CSV file
# $RESULTS; without that variable it does nothing. Rows of one machine at two commits are compared by compare.sh.
#
# Columns: date, commit, processor, threads, subject (a type or a model), program (llama.cpp, or ours with precision or
# effort), measure (with its unit), value.
record_head="date,commit,processor,threads,subject,program,measure,value"
record_commit=$(git -C "$(dirname "${BASH_SOURCE[0]}")" describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)
record_processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1 | tr -d ',')

record() {
  [ -n "${RESULTS:-}" ] || return 0
  [ -s "$RESULTS" ] || echo "$record_head" > "$RESULTS"
  echo "$(date +%F),$record_commit,${record_processor:-unknown},${threads:-1},$1,$2,$3,$4" >> "$RESULTS"
}
