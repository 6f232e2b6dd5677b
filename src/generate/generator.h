// Continues a text: runs a prompt through a Session in batches of limited size, then samples and appends one token
// after the other. The context stays between calls, so a dialogue is append, generate, append, generate. Called by
// tools/run.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "generate/sampler.h"
#include "generate/stop_filter.h"
#include "model/model.h"
#include "schedule/session.h"
#include "tokenizer/tokenizer.h"

namespace steelyard::generate {

/// Why generation ended.
enum class FinishReason {
  kEndOfGeneration,  // the model said so
  kStopString,
  kTokens,   // as many as were asked for
  kContext,  // no room for another token
};

/// "end-of-generation", "stop", "tokens", "context".
std::string_view name(FinishReason finish_reason);

/// Tokens, and the seconds they took.
struct Timing {
  int64_t tokens = 0;
  double seconds = 0;
};

class Generator {
 public:
  struct Options {
    int64_t n_context;          // tokens there is room for
    int64_t batch = 512;        // tokens of a prompt that go through the model at once
    bool show_special = false;  // the text of control tokens is part of what is shown
    SamplingOptions sampling;
    std::vector<std::string> stops;
    /// The text of a token that is generated; null: as the tokenizer decodes it.
    std::function<std::string(tokenizer::TokenId)> decode = {};
  };

  /// Keeps references to both. Error for options out of range, and for everything that Session refuses.
  Generator(const model::Model& model, const tokenizer::Tokenizer& tokenizer, Options options);

  /// Appends `ids` to the context. Error when there is no room for them.
  void append(std::span<const tokenizer::TokenId> ids);

  /// Takes the context back to what it shares with `ids`, the last of them excepted, as far as the model's caches can
  /// be cut, and begins the choice of tokens anew with `seed`. The number of tokens that stay: the others are to be
  /// appended.
  int64_t restart(std::span<const tokenizer::TokenId> ids, uint64_t seed);

  /// Generates up to `n` tokens after the appended ones, at least one, and passes their text to `show`, piece by piece.
  /// What `show` throws ends the answer; the token that it was shown is part of the context.
  /// Error when the model gives no finite logits.
  FinishReason generate(int64_t n, const std::function<void(std::string_view)>& show);

  /// Nothing appended yet.
  bool empty() const { return session_.position() == 0; }
  /// The tokens of the context: appended and generated ones, the token that ended generation too.
  std::vector<tokenizer::TokenId> ids() const;
  /// Room left: tokens that can still be appended or generated.
  int64_t remaining() const;
  const Timing& prompt_timing() const { return prompt_; }
  const Timing& generation_timing() const { return generation_; }

 private:
  // Computes logits_ from the last row of the hidden states.
  void read_logits(const compute::Matrix& residual);

  const model::Model& model_;
  const tokenizer::Tokenizer& tokenizer_;
  Options options_;
  schedule::Session session_;
  Sampler sampler_;
  StopFilter filter_;
  std::vector<float> logits_;                  // [n_vocab]; empty before the first token
  std::optional<tokenizer::TokenId> waiting_;  // sampled, but not yet in the context
  Timing prompt_, generation_;
};

}  // namespace steelyard::generate
