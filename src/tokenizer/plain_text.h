// What depends on tokenizer.ggml.model: how plain text becomes tokens, and which bytes a token stands for. One class
// per kind of model (bpe.h, spm.h); their list is in plain_text.cc. Special tokens, BOS and EOS are handled elsewhere.
// Called by Tokenizer only.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/metadata.h"
#include "tokenizer/vocabulary.h"

namespace steelyard::tokenizer {

/// What a model of this kind does about BOS and EOS when its metadata does not say.
struct SpecialDefaults {
  bool add_bos = false;
  bool insists_on_bos = false;  // adds BOS whatever the metadata says
  TokenId bos = -1;             // -1: none
  TokenId eos = -1;
};

class PlainText {
 public:
  virtual ~PlainText() = default;

  virtual SpecialDefaults defaults() const = 0;

  /// Appends the tokens of `text`, any bytes. `starts`: it begins the whole text or follows a special token.
  virtual void encode(std::string_view text, bool starts, std::vector<TokenId>& ids) const = 0;

  /// The bytes of a normal or byte token.
  virtual std::string bytes(TokenId id) const = 0;
};

/// The kind named by tokenizer.ggml.model; keeps a reference to `vocabulary`. Error for an unknown kind and for
/// malformed keys.
std::unique_ptr<const PlainText> make_plain_text(const gguf::Metadata& metadata, const Vocabulary& vocabulary);

/// Error unless tokenizer.ggml.model names a known kind. Called before the vocabulary is read, because other kinds have
/// other keys.
void check_tokenizer_model(const gguf::Metadata& metadata);

}  // namespace steelyard::tokenizer
