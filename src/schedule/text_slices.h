// A chunk may hold several texts, one after the other, each of which begins in an empty context. Used by LayerSweep and
// PredictionBlocks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "model/forward.h"

namespace steelyard::schedule {

/// Where the texts of a chunk begin if it is one text.
inline constexpr int64_t kOneText[] = {0};

/// Adds a slice for each text that has some of the positions [begin, end) of a chunk of n_ctx, which lie in a batch
/// from first_row on. starts: the position of each text's first token, ascending from 0. The texts share the chunk's
/// cache, each from the row where it begins.
inline void add_text_slices(std::vector<model::SequenceSlice>& slices, const model::Layer& layer,
                            std::span<const int64_t> starts, int64_t n_ctx, int64_t first_row, int64_t begin,
                            int64_t end, model::KvLayer& kv) {
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t next = i + 1 < starts.size() ? starts[i + 1] : n_ctx;
    const int64_t from = std::max(begin, starts[i]), to = std::min(end, next);
    if (from >= to) continue;
    slices.push_back({first_row + from - begin, to - from, from - starts[i], &kv, starts[i],
                      is_extended(layer.config.attention.rope, next - starts[i])});
  }
}

}  // namespace steelyard::schedule
