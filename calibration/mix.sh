#!/bin/sh
# Mixes text files into one calibration corpus: each file is cut at blank lines into pieces of about 1500 bytes, and the
# pieces are interleaved in proportion, so that every stretch of the result holds a share of every file.
# usage: mix.sh FILE... > corpus.txt
set -eu
[ $# -gt 0 ] || { echo "usage: $0 FILE... > corpus.txt" >&2; exit 1; }
for file in "$@"; do [ -r "$file" ] || { echo "$0: cannot read $file" >&2; exit 1; }; done
export LC_ALL=C  # lengths are bytes in every awk
awk '
  function flush() { if (piece != "") { n[file]++; text[file, n[file]] = piece; piece = "" } }
  FNR == 1 { flush(); file++ }
  /^[ \t]*$/ && length(piece) >= 1500 { flush(); next }
  { piece = piece $0 "\n" }
  END {
    flush()
    for (f = 1; f <= file; f++) total += n[f]
    # Piece k of file f belongs at position (k - 1/2) / n[f]; take the file that is most behind.
    for (i = 1; i <= total; i++) {
      best = 0
      for (f = 1; f <= file; f++) if (taken[f] < n[f]) {
        position = (taken[f] + 0.5) / n[f]
        if (!best || position < lowest) { best = f; lowest = position }
      }
      printf "%s\n", text[best, ++taken[best]]
    }
  }' "$@"
