// Continues a text: runs a prompt through a Session in bounded batches, then samples and appends one token after the
// other. The context stays between calls, so a dialogue is append, generate, append, generate. Called by jobs/run.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "generate/sampler.h"
#include "generate/stop_filter.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

namespace steelyard {

/// Why generation ended.
enum class Ending {
  kEndOfGeneration,  // the model said so
  kStopString,
  kTokens,   // as many as were asked for
  kContext,  // no room for another token
};

/// Tokens, and the seconds they took.
struct Pace {
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
  };

  /// Keeps references to both. Error for options out of range and whatever Session refuses.
  Generator(const Model& model, const Tokenizer& tokenizer, Options options);

  /// Appends `ids` to the context. Error when there is no room for them.
  void append(std::span<const TokenId> ids);

  /// Generates up to `n` tokens after what was appended, at least one token, and gives their text to `show`, piece by
  /// piece. Error when the model yields no finite logits.
  Ending generate(int64_t n, const std::function<void(std::string_view)>& show);

  /// Nothing appended yet.
  bool empty() const { return session_.position() == 0; }
  /// Room left: tokens that can still be appended or generated.
  int64_t room() const;
  const Pace& prompt_pace() const { return prompt_; }
  const Pace& generation_pace() const { return generation_; }

 private:
  // Sets logits_ to what the last row of the residual stream predicts.
  void read_logits(const Matrix& residual);

  const Model& model_;
  const Tokenizer& tokenizer_;
  Options options_;
  Session session_;
  Sampler sampler_;
  StopFilter filter_;
  std::vector<float> logits_;       // [n_vocab]; empty before the first token
  std::optional<TokenId> waiting_;  // sampled, but not yet in the context
  Pace prompt_, generation_;
};

}  // namespace steelyard
