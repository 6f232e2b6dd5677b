// The registry of architectures. An architecture is one file in model/arch/ and one line in archs.def.
#pragma once

#include <cstdint>
#include <string_view>

#include "model/model_keys.h"

namespace steelyard::model {

/// One architecture: `read` fills a configuration from metadata.
struct Architecture {
  std::string_view name;
  ModelConfig (*read)(const ModelKeys& keys);
};

/// The architecture named by general.architecture. Error naming the known ones otherwise.
const Architecture& find_architecture(const gguf::Metadata& metadata);

/// Whether general.architecture names one of them.
bool knows_architecture(const gguf::Metadata& metadata);

/// The configuration that a file's metadata describe. Error for an unknown architecture, a missing or ill-typed key.
/// n_vocab: of files without a tokenizer; 0: they are refused.
ModelConfig read_config(const gguf::Metadata& metadata, int64_t n_vocab = 0);

}  // namespace steelyard::model
