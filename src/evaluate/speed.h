// How fast a model runs on a backend, and what the machine could do at best: memory bandwidth and F32 products.
#pragma once

#include <cstdint>

#include "model/model.h"

namespace steelyard {

struct ModelSpeed {
  double prefill = 0;  ///< tokens per second of a prompt from an empty context, logits of its last token included
  double decode = 0;   ///< tokens per second one by one from an empty context, logits included
};

/// The best of `n_rounds` rounds, after one to warm up. n_prompt and n_decode: tokens; 0 leaves that part out.
ModelSpeed measure_speed(const Model& model, int64_t n_prompt, int64_t n_decode, int n_rounds);

/// What one token costs.
struct TokenCost {
  double bytes = 0;     ///< of weights read to decode one token
  double products = 0;  ///< multiplications with weights for one token of a prompt, the output matrix left out
};
TokenCost token_cost(const gguf::Reader& reader, const ModelConfig& config);

/// Bytes per second that all threads together read from memory, the best of some passes over 256 MiB.
double measure_bandwidth();

/// Multiplications per second of a large product of F32 matrices on the backend.
double measure_product_rate(Backend& backend);

}  // namespace steelyard
