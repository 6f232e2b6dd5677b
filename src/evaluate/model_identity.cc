#include "evaluate/model_identity.h"

#include "base/sha256.h"
#include "gguf/fingerprint.h"
#include "tokenizer/chunks.h"

namespace steelyard::evaluate {

ExpertShape expert_shape(const model::ModelConfig& config) {
  ExpertShape shape;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const model::FfnConfig& ffn = config.layers[i].ffn;
    if (ffn.n_expert == 0) continue;
    if (!shape.layers.empty() && (ffn.n_expert != shape.n_expert || ffn.n_used != shape.n_used)) return {};
    shape.layers.push_back(static_cast<int32_t>(i));
    shape.n_expert = ffn.n_expert;
    shape.n_used = ffn.n_used;
  }
  return shape;
}

ModelIdentity model_identity(const gguf::Source& reader, const model::ModelConfig& config,
                             const tokenizer::Tokenizer& tokenizer) {
  Sha256 vocabulary;
  for (tokenizer::TokenId id = 0; id < tokenizer.n_tokens(); ++id) {
    vocabulary.update(tokenizer.text(id));
    vocabulary.update(std::string_view("\0", 1));
  }
  // Models that see the same chunks with and without BOS cannot be compared.
  vocabulary.update(std::to_string(chunk_bos(tokenizer).value_or(-1)));
  return {reader.path(), config.n_vocab, gguf::fingerprint(reader), vocabulary.hex(), expert_shape(config)};
}

}  // namespace steelyard::evaluate
