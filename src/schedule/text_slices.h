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

/// Adds a slice for each text that has some of the chunk's positions [begin, end), which lie in a batch from first_row
/// on. starts: the position of each text's first token, ascending from 0. The texts share the chunk's cache, each from
/// the row where it begins.
inline void add_text_slices(std::vector<model::SequenceSlice>& slices, std::span<const int64_t> starts,
                            int64_t first_row, int64_t begin, int64_t end, model::KvLayer& kv) {
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t from = std::max(begin, starts[i]), to = i + 1 < starts.size() ? std::min(end, starts[i + 1]) : end;
    if (from < to) slices.push_back({first_row + from - begin, to - from, from - starts[i], &kv, starts[i]});
  }
}

}  // namespace steelyard::schedule
