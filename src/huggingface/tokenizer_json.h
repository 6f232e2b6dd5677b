// tokenizer.json of the library tokenizers, as far as a vocabulary, its merges and its splits go. Read in one pass over
// a text that may have 35 MB. Its layout: docs/huggingface-tokenizers.md.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "huggingface/json_file.h"
#include "json/json.h"

namespace steelyard::huggingface {

struct AddedToken {
  int64_t id;
  std::string text;
  bool special;
};

struct TokenizerJson {
  std::vector<std::pair<int64_t, std::string>> vocab;  ///< in the order of the file; ids are unique
  std::vector<std::string> merges;                     ///< "left right", in both spellings of the file
  std::vector<AddedToken> added;
  std::string unknown;         ///< the token for what has none; may be empty
  bool byte_fallback = false;  ///< what is no token becomes tokens of its bytes, <0x00> to <0xFF>
  bool ignore_merges = false;  ///< a piece that is a token is not merged
  json::Json normalizer, pre_tokenizer, post_processor, decoder;  ///< null where there is none
};

/// Error that names the file, and the token or the merge: another model than BPE, ids that are no numbers of 0 to
/// 2^31 - 2 or come twice, merges that are none.
TokenizerJson read_tokenizer_json(const JsonFile& file);

}  // namespace steelyard::huggingface
