// How a text goes through a model within given memory: in which order, how many tokens at a time, and how many residual
// streams stay in memory. Pure arithmetic over the file's header; used by the commands that sweep.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "model/layer_sweep.h"

namespace steelyard {

enum class SweepOrder {
  kToken,  ///< one batch after the other through all layers: the file is read once per batch, or stays in memory
  kLayer,  ///< all text through one layer after the other: the file is read once
};

struct SweepPlan {
  SweepOrder order = SweepOrder::kToken;
  int64_t n_batch = 0;        ///< tokens at a time; does not depend on the order, so that results do not
  uint64_t stream_bytes = 0;  ///< of streams in memory, see SweepOptions
};

/// The block of a tensor named "blk.N.…", if it is one.
std::optional<size_t> block_of(std::string_view name);

/// Activations of one token inside the widest block, an upper bound in bytes.
uint64_t activation_bytes_per_token(const gguf::Reader& reader, const ModelConfig& config);

/// memory: what the process may use beside the kernel's cache of files. result_bytes: of it, what the caller keeps.
/// n_batch: tokens at a time where memory allows. By itself (no `order`) a file larger than memory goes layer by layer.
SweepPlan plan_sweep(const gguf::Reader& reader, const ModelConfig& config, uint64_t memory, uint64_t result_bytes,
                     int64_t n_ctx, int64_t n_batch, std::optional<SweepOrder> order);

}  // namespace steelyard
