// How a text goes through a model: within which memory, in which order, in what batches. For jobs that sweep.
#pragma once

#include <cstdint>
#include <string>

#include "schedule/sweep_plan.h"

namespace steelyard::jobs {

struct SweepChoice {
  uint64_t memory = 0;        ///< bytes to use, weights included; 0: most of what there is
  std::string order;          ///< layer, token; empty: layer where the model exceeds `memory`
  int64_t batch_size = 2048;  ///< tokens per batch: several chunks, or a part of one

  /// result_bytes: what the job keeps in memory until its end. Error for a batch below 1.
  schedule::SweepPlan plan(const gguf::Source& reader, const model::ModelConfig& config, uint64_t result_bytes,
                           int64_t n_ctx) const;
  /// The same as options of a sweep whose scratch files lie beside `output`. ranks: that share the work, null for none.
  /// The one with the least memory decides about order and batches.
  schedule::SweepOptions sweep(const gguf::Source& reader, const model::ModelConfig& config, uint64_t result_bytes,
                               int64_t n_ctx, const std::string& output, cluster::Ranks* ranks = nullptr) const;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit.bytes("memory", self.memory);
    visit("order", self.order);
    visit("batch_size", self.batch_size);
  }
};

}  // namespace steelyard::jobs
