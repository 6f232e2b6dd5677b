// What a model's description asks of a file, held against the tensors of its header. Jobs that write a model report it,
// and a model that has unknown tensors is not run.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "gguf/tensor_info.h"
#include "model/config.h"

namespace steelyard::model {

struct Inventory {
  /// Names of tensors that the model needs; "blk.7.*": all of a block, after some that are listed.
  std::vector<std::string> missing;
  std::vector<std::string> misshapen;  ///< "name (shape, expected shape)"
  /// Names of tensors of blocks, or beside known ones, that have no place in the description: what they do to the
  /// model is not computed.
  std::vector<std::string> unknown;
};

/// In the order of the description, and of the file. Blocks for prediction that the file lacks altogether are not
/// missed.
Inventory take_inventory(std::span<const gguf::TensorInfo> tensors, const ModelConfig& config);

}  // namespace steelyard::model
