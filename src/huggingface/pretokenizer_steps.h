// How a tokenizer.json cuts and changes text before it merges, in steps that can be compared with those of models that
// are known (tokenizer/published_patterns.h), and whether it spells its vocabulary as SentencePiece does.
#pragma once

#include <string>
#include <vector>

#include "huggingface/tokenizer_json.h"

namespace steelyard::huggingface {

/// The steps of "pre_tokenizer". What is no regular expression is named so that it equals nothing else.
std::vector<std::string> pretokenizer_steps(const json::Json& pre_tokenizer);

/// Those of "normalizer", as "Replace ' ' by '_'".
std::vector<std::string> normalizer_steps(const json::Json& normalizer);

/// Of a vocabulary with U+2581 for spaces and tokens for bytes: whether text begins with a space that is put there.
bool adds_space_prefix(const TokenizerJson& tokenizer);

/// The name for tokenizer.ggml.pre, of a byte-level vocabulary. Error at `where` that says what was found and what
/// --pre accepts when the table knows no such steps, or the text is changed before.
std::string recognised_pretokenizer(const TokenizerJson& tokenizer, const std::string& where);

}  // namespace steelyard::huggingface
