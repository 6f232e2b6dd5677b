# What `ptxas -v` says of the kernels, as the table of docs/cuda.md: registers by target, and over all targets the most
# shared memory, stack and spilled bytes. Kernels of many types are one row, with the most that any type needs.
#   c++filt < logs | awk -f resources.awk      (make cuda-targets)
/Compiling entry function/ {
  split($0, quoted, "'")
  kernel = quoted[2]
  target = quoted[4]
  gsub(/\(anonymous namespace\)::|steelyard::|compute::|cuda::|formats::|scalar::|void /, "", kernel)
  sub(/\(LdlqStep\)/, "step ", kernel)
  sub(/\(Over\)/, "over ", kernel)
  sub(/\(.*/, "", kernel)                                   # parameters
  sub(/device_[a-z0-9_]+::/, "", kernel)                    # the namespace of a type's encoder
  if (kernel ~ /^(encode_on_device|ldlq_step)/) sub(/<[A-Z0-9_]+(, )?/, "<", kernel)  # the type
  sub(/<>/, "", kernel)
  if (kernel ~ /^(multiply_|decode_rows|write_block_scales)/) {  # the type, but not the kind of codes
    codes = kernel ~ /Int8Codes/ ? "<int8>" : kernel ~ /Bf16Codes/ ? "<bfloat16>" : ""
    sub(/<.*/, codes, kernel)
  }
  if (!(kernel in seen)) { seen[kernel] = 1; order[++n] = kernel }
  if (!(target in targets)) { targets[target] = 1; columns[++m] = target }
}
/bytes stack frame/ {
  if ($1 > stack[kernel]) stack[kernel] = $1
  spilled = $5 + $9
  if (spilled > spills[kernel]) spills[kernel] = spilled
}
/Used [0-9]+ registers/ {
  match($0, /Used [0-9]+/)
  used = substr($0, RSTART + 5, RLENGTH - 5) + 0
  if (used > registers[kernel, target]) registers[kernel, target] = used
  if (match($0, /[0-9]+ bytes smem/)) {
    bytes = substr($0, RSTART, RLENGTH - 11) + 0
    if (bytes > shared[kernel]) shared[kernel] = bytes
  }
}
END {
  for (i = 2; i <= m; ++i) {  # by number
    for (k = i; k > 1 && substr(columns[k], 4) + 0 < substr(columns[k - 1], 4) + 0; --k) {
      swap = columns[k]; columns[k] = columns[k - 1]; columns[k - 1] = swap
    }
  }
  printf "| kernel |"
  for (i = 1; i <= m; ++i) printf " %s |", columns[i]
  printf " shared | stack | spilled |\n| --- |"
  for (i = 1; i <= m; ++i) printf " --- |"
  printf " --- | --- | --- |\n"
  for (i = 1; i <= n; ++i) {
    printf "| `%s` |", order[i]
    for (k = 1; k <= m; ++k) printf " %d |", registers[order[i], columns[k]]
    printf " %d | %d | %d |\n", shared[order[i]], stack[order[i]], spills[order[i]]
  }
}
