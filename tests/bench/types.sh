#!/bin/bash
# Speed of every type that can be written, in a dense model and in one with experts (random_models.py): a table for each,
# made by runtime.sh, which says what is in it.
#
#   types.sh STEELYARD FOLDER [LLAMA_FOLDER]
#
# FOLDER keeps the models, some 9 GB; what is there is not made again. KINDS="dense moe" and TYPES="Q4_K IQ1_M" restrict.
set -euo pipefail
steelyard=$1 folder=$2 peer=${3:-}
here=$(dirname "$0") root=$(dirname "$0")/../..
# The list of types, less integers, F64, and F32, which is larger than the BF16 that all are made from.
types=${TYPES:-BF16 $(sed -n 's/^FORMAT(\([A-Z0-9_]*\),.*/\1/p' "$root/src/formats/formats.def" | grep -vxE 'BF16|F32|F64|I[0-9]+')}
mkdir -p "$folder"
work=$(mktemp -d "$folder/tmp.XXXXXX"); trap 'rm -rf "$work"' EXIT

for kind in ${KINDS-dense moe}; do
  source=$folder/$kind-BF16.gguf imatrix=$folder/$kind.imatrix.gguf
  if ! [ -e "$source" ] || ! [ -e "$imatrix" ]; then
    python3 -c 'import gguf, numpy' || { echo "the models need two packages of Python: pip install gguf numpy"; exit 1; }
    python3 "$here/random_models.py" "$kind" "$root/tests/models/glm-flash-tiny-bf16.gguf" "$work/model"
    python3 "$here/flat_imatrix.py" "$work/model" "$work/imatrix"
    mv "$work/model" "$source"; mv "$work/imatrix" "$imatrix"
  fi
  files=()
  for type in $types; do
    file=$folder/$kind-$type.gguf
    files+=("$file")
    [ ! -e "$file" ] || continue
    # Where llama.cpp's own mixes give embedding and output a larger type, both have one here.
    ends=()
    case $type in IQ1_* | IQ2_* | IQ3_XXS | IQ4_XS) ends=(--token-embedding-type Q8_0 --output-tensor-type Q8_0) ;; esac
    "$steelyard" quantize "$source" "$file" "$type" --effort fast --imatrix "$imatrix" "${ends[@]}" > "$work/log"
  done
  printf '\n%s\n\n' "$kind"
  "$here/runtime.sh" "$steelyard" "$peer" "" "${files[@]}"
done
