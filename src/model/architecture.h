// The registry of architectures. An architecture is one file in model/arch/ and one line in archs.def.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "gguf/source.h"
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
/// tensors: of the file; a few architectures say only by them which blocks have experts. n_vocab: of files without a
/// tokenizer; 0: they are refused.
ModelConfig read_config(const gguf::Metadata& metadata, std::span<const gguf::TensorInfo> tensors, int64_t n_vocab = 0);
inline ModelConfig read_config(const gguf::Source& file) { return read_config(file.metadata(), file.tensors()); }
/// Of metadata alone: no block has any tensor.
inline ModelConfig read_config(const gguf::Metadata& metadata) { return read_config(metadata, {}); }

}  // namespace steelyard::model
