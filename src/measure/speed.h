// How fast a model runs on a backend with a context of some length, what energy that takes, and what the machine could
// do at best: memory bandwidth and F32 products.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "measure/energy.h"
#include "model/model.h"
#include "schedule/session.h"

namespace steelyard::measure {

struct SpeedOptions {
  int64_t n_decode = 64;  ///< tokens that are decoded one by one after the prompt; 0: none
  int64_t n_batch = 512;  ///< tokens of a prompt that go through the model at once
  int n_rounds = 1;       ///< of which the best counts, for prompt and decoding each
};

/// Of a stretch of work.
struct Rate {
  double tokens_per_second = 0;
  std::optional<double> watts;  ///< mean; nothing without a meter

  std::optional<double> tokens_per_kwh() const {
    return watts && *watts > 0 ? std::optional(tokens_per_second / *watts * 3.6e6) : std::nullopt;
  }
};

struct ContextSpeed {
  int64_t n_context = 0;        ///< tokens of the prompt
  double first_token = 0;       ///< seconds from an empty context until the logits after the prompt are there
  std::optional<Rate> prefill;  ///< of the prompt; nothing when it is empty
  std::optional<Rate> decode;   ///< of the tokens after it
};

/// Runs a prompt of n_context tokens from an empty context, then decodes. The session has room for both.
ContextSpeed measure_speed(const model::Model& model, schedule::Session& session, int64_t n_context,
                           const SpeedOptions& options, EnergyMeters& meters);

/// Runs a little of everything, so that nothing is done for the first time later: a batch of at most n_most tokens.
void warm_up(const model::Model& model, schedule::Session& session, int64_t n_most, const SpeedOptions& options);

/// What one token costs.
struct TokenCost {
  double bytes = 0;     ///< of weights read to decode one token
  double products = 0;  ///< multiplications with weights for one token of a prompt, the output matrix left out
};
TokenCost token_cost(const gguf::Source& reader, const model::ModelConfig& config);

/// Bytes per second that all threads together read from memory, the best of some passes over 256 MiB.
double measure_bandwidth();

/// Multiplications per second of a large product of F32 matrices on the backend.
double measure_product_rate(compute::Backend& backend);

}  // namespace steelyard::measure
