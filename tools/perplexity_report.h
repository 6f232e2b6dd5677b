// Prints perplexity's figures, on stdout and as JSON. Labels are those that users of llama-perplexity look for.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "evaluate/divergence.h"
#include "evaluate/evaluation.h"
#include "evaluate/perplexity.h"

namespace steelyard::tools {

/// "[1]12.3456,[2]…" as chunks of `n_scored` tokens are finished.
class RunningPerplexity {
 public:
  explicit RunningPerplexity(int64_t n_scored) : n_scored_(static_cast<size_t>(n_scored)) {}
  /// All scores so far.
  void show(std::span<const TokenScore> scores);

 private:
  size_t n_scored_;
  size_t n_seen_ = 0;
  double sum_ = 0;
};

void print(const PerplexityResult& result);
void print(const DivergenceResult& result);
/// Router agreement per layer, and over all of them.
void print(std::span<const RouterCounts> routers, const ExpertShape& experts);

nlohmann::ordered_json to_json(const PerplexityResult& result);
nlohmann::ordered_json to_json(const DivergenceResult& result);
nlohmann::ordered_json to_json(std::span<const RouterCounts> routers, const ExpertShape& experts);

}  // namespace steelyard::tools
