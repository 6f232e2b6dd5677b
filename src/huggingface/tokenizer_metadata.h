// The tokenizer of a model folder as metadata of GGUF: the keys that llama.cpp's converter writes, from tokenizer.json
// or tokenizer.model and the files beside them (docs/huggingface-tokenizers.md). Whoever opens a folder calls it.
#pragma once

#include <string>

#include "gguf/metadata.h"

namespace steelyard::huggingface {

/// All of tokenizer.*, in the converter's order. `pre`: the name of a pre-tokenizer that is taken instead of the one
/// that tokenizer.json is recognised by; empty: recognise it. Error that names the file, and the token or the pattern:
/// files that are missing, damaged or contradict each other, a kind of tokenizer that the runtime does not know.
gguf::Metadata tokenizer_metadata(const std::string& folder, const std::string& pre = "");

}  // namespace steelyard::huggingface
