// How a text passes through a model within given memory: in which order, how many tokens at a time, and how many hidden
// states stay in memory. Pure arithmetic over the file's header; used by the commands that sweep.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "schedule/layer_sweep.h"

namespace steelyard::schedule {

/// The program itself, its vocabulary, and the panels of decoded weights in a backend.
inline constexpr uint64_t kProgramBytes = uint64_t{48} << 20;

enum class SweepOrder {
  kToken,  ///< one batch after the other through all layers: the file is read once per batch, or stays in memory
  kLayer,  ///< all text through one layer after the other: the file is read once
};

struct SweepPlan {
  SweepOrder order = SweepOrder::kToken;
  int64_t n_batch = 0;        ///< tokens at a time; does not depend on the order, so that results do not
  uint64_t weight_bytes = 0;  ///< of the file that are in use at a time
  uint64_t activation_bytes = 0;
  uint64_t hidden_state_bytes = 0;  ///< of hidden states in memory, see SweepOptions
};

/// Activations of one token, upper bounds in bytes.
struct TokenBytes {
  uint64_t in_block = 0;    ///< inside the widest block: of the tokens that pass it together
  uint64_t in_layer = 0;    ///< the same of the trunk alone
  uint64_t input = 0;       ///< of them, what the trunk's widest product reads
  uint64_t persistent = 0;  ///< caches and copies of its stream: of at least a whole chunk
};
TokenBytes token_bytes(std::span<const gguf::TensorInfo> tensors, const model::ModelConfig& config);

/// The same for what layers see of a text of n_ctx tokens, where they choose.
uint64_t choice_bytes(const model::ModelConfig& config, int64_t n_ctx);

/// Bytes of what queries see of a text, where attention goes over it in parts of one size.
uint64_t part_bytes(const model::ModelConfig& config);

/// memory: what the process may use, weights included. result_bytes: the part of it that the caller keeps. n_batch:
/// tokens at a time, if memory allows. Without `order`, a model that does not fit is swept layer by layer.
SweepPlan plan_sweep(const gguf::Source& reader, const model::ModelConfig& config, uint64_t memory,
                     uint64_t result_bytes, int64_t n_ctx, int64_t n_batch, std::optional<SweepOrder> order);

}  // namespace steelyard::schedule
