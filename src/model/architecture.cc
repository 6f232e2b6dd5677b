#include "model/architecture.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

namespace steelyard::model {

#define ARCHITECTURE(identifier, name) ModelConfig read_##identifier(const ModelKeys& keys);
#include "model/arch/archs.def"
#undef ARCHITECTURE

namespace {

constexpr Architecture kArchitectures[] = {
#define ARCHITECTURE(identifier, name) {name, read_##identifier},
#include "model/arch/archs.def"
#undef ARCHITECTURE
};

constexpr int64_t kMaxCount = std::numeric_limits<int32_t>::max();

// What is counted is below 2^31, and so must be what a product of two counts makes wide. Then sums of some of them, and
// the products with a context, stay within 64 bits wherever they are formed.
void check_widths(const gguf::Metadata& metadata, const ModelConfig& config) {
  for (size_t i = 0; i < config.layers.size() + config.prediction.size(); ++i) {
    const AttentionConfig& attention = config.block(i).attention;
    const FfnConfig& ffn = config.block(i).ffn;
    const DeltaNetConfig& delta = attention.delta_net;
    const StateSpaceConfig& space = attention.state_space;
    const KimiDeltaConfig& kimi = attention.kimi_delta;
    const int64_t widths[] = {attention.n_head * attention.head_k,
                              attention.n_head * attention.head_v,
                              attention.n_head_kv * attention.head_k,
                              attention.n_head_kv * attention.head_v,
                              attention.indexer.query_width(),
                              attention.indexer.pending_width(),
                              attention.compressed.n_index_head * attention.compressed.index_head,
                              attention.compressed.n_group * attention.compressed.group_rank,
                              delta.n_head * delta.head,
                              delta.n_head_k * delta.head,
                              space.n_head * space.head,
                              space.n_group * space.n_state,
                              kimi.n_head * kimi.head,
                              config.streams.row_width(),
                              config.block(i).embedding.width * config.block(i).embedding.n_layers,
                              ffn.n_ff,
                              ffn.n_ff_shared};
    for (const int64_t width : widths) {
      if (width > kMaxCount) {
        fail(metadata.source(), "block {} is {} wide, expected at most {}", i, width, kMaxCount);
      }
    }
  }
}

// What a layer takes must be what an earlier one gives.
void check_sharing(const gguf::Metadata& metadata, const ModelConfig& config) {
  std::map<int64_t, std::pair<int64_t, int64_t>> given;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const AttentionConfig& attention = config.layers[i].attention;
    if (attention.sharing == Sharing::kOwn) continue;
    const std::pair shape(attention.side_width(), attention.key_width());
    STEELYARD_CHECK(attention.side_begin + shape.first <= config.streams.n_side);
    if (attention.sharing == Sharing::kGives) {
      given[attention.side_begin] = shape;
    } else if (const auto found = given.find(attention.side_begin); found == given.end() || found->second != shape) {
      fail(metadata.source(), "block {} has no earlier block whose keys and values it could share", i);
    }
  }
}

// The description is read once for each kind of block, and has that kind's blocks from there.
ModelConfig read_blocks(const Architecture& architecture, const ModelKeys& keys) {
  ModelConfig config = architecture.read(keys);
  if (keys.per_layer().empty()) return config;
  std::map<std::vector<int64_t>, std::vector<size_t>> kinds;
  for (size_t i = 0; i < config.layers.size() + config.prediction.size(); ++i) {
    std::vector<int64_t> kind;
    for (const auto& [key, values] : keys.per_layer()) kind.push_back(values[i]);
    kinds[kind].push_back(i);
  }
  constexpr size_t kMostKinds = 256;  // keeps the work for a small file small
  if (kinds.size() > kMostKinds) {
    keys.reject(keys.per_layer().begin()->first, "gives {} kinds of layers, expected at most {}", kinds.size(),
                kMostKinds);
  }
  for (const auto& [kind, blocks] : kinds) {
    const ModelConfig of_kind = architecture.read(keys.of_block(blocks.front()));
    for (const size_t i : blocks) {
      if (i < config.layers.size())
        config.layers[i] = of_kind.layers.at(i);
      else
        config.prediction[i - config.layers.size()] = of_kind.block(i);
    }
  }
  return config;
}

}  // namespace

bool knows_architecture(const gguf::Metadata& metadata) {
  const gguf::KeyValue* const entry = metadata.find("general.architecture");
  if (entry == nullptr || entry->type != gguf::ValueType::kString) return false;
  return std::ranges::find(kArchitectures, metadata.string(entry->key), &Architecture::name) !=
         std::end(kArchitectures);
}

const Architecture& find_architecture(const gguf::Metadata& metadata) {
  const std::string_view name = metadata.string("general.architecture");
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name == name) return architecture;
    known += (known.empty() ? "" : ", ") + std::string(architecture.name);
  }
  fail(metadata.source(), "architecture \"{}\" is unknown (known: {})", printable(name), known);
}

ModelConfig read_config(const gguf::Metadata& metadata, std::span<const gguf::TensorInfo> tensors, int64_t n_vocab) {
  const Architecture& architecture = find_architecture(metadata);
  ModelConfig config = read_blocks(architecture, ModelKeys(metadata, architecture.name, tensors, n_vocab));
  config.streams.n_embd = config.n_embd;
  for (auto* const layers : {&config.layers, &config.prediction}) {
    for (LayerConfig& layer : *layers) layer.streams = config.streams;
  }
  check_widths(metadata, config);
  check_sharing(metadata, config);
  constexpr int64_t kMostIds = int64_t{1} << 24;  // that a float tells apart
  if (config.streams.has_id && config.n_vocab > kMostIds)
    fail(metadata.source(), "a vocabulary of {}, expected at most {}", config.n_vocab, kMostIds);
  return config;
}

}  // namespace steelyard::model
