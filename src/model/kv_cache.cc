#include "model/kv_cache.h"

#include <algorithm>

#include "base/error.h"

namespace steelyard::model {
namespace {

// Attention decodes the rows of the cache head by head.
void check_heads(formats::Type type, int64_t head, std::string_view what) {
  const formats::Format& format = formats::format(type);
  if (format.encoder == nullptr || format.importance == formats::Importance::kRequired) {
    fail("", "the cache cannot hold {} in {}", what, format.name);
  }
  if (head % format.block_len != 0) {
    fail("", "the cache cannot hold {} in {}: {} values do not divide into blocks of {}", what, format.name, head,
         format.block_len);
  }
}

compute::TypedRows typed_rows(formats::Type type, int64_t n_positions, int64_t width) {
  constexpr int64_t kAlignment = 64;
  const formats::Format& format = formats::format(type);
  const int64_t bytes = width / format.block_len * format.block_bytes;
  return {&format, nullptr, n_positions, width, (bytes + kAlignment - 1) / kAlignment * kAlignment};
}

// Of a sequence's RecurrentState.
int64_t state_values(const AttentionConfig& config) {
  switch (config.mixer) {
    case Mixer::kDeltaNet:
      return config.delta_net.rule_values() + config.delta_net.conv_values();
    case Mixer::kShortConv:
      return config.short_conv.conv_values();
    case Mixer::kStateSpace:
      return config.state_space.rule_values() + config.state_space.conv_values();
    case Mixer::kKimiDelta:
      return config.kimi_delta.rule_values() + 3 * config.kimi_delta.conv_values();
    case Mixer::kCompressed: {
      const CompressedConfig& own = config.compressed;
      const int64_t width = own.n_halves() * (config.head_k + (own.has_index() ? own.index_head : 0));
      return own.n_pending() * 2 * width;  // vectors and their gates
    }
    case Mixer::kLatent:
      return config.indexer.pending_values();
    case Mixer::kNone:
    case Mixer::kAttention:
      break;
  }
  return 0;
}

int64_t ngram_values(const NgramConfig& config) { return config.conv_values() + config.n_past(); }

RecurrentState make_state(Backend& backend, int64_t n_values) {
  RecurrentState state;
  state.bytes = static_cast<size_t>(n_values) * sizeof(float);
  if (n_values > 0) state.memory = backend.allocate(state.bytes);
  return state;
}

bool chooses_positions(const AttentionConfig& config, int64_t n_positions) {
  return config.indexer.is_built() && config.indexer.chooses(n_positions);
}

// Without memory.
KvLayer kv_views(const AttentionConfig& config, CacheRoom room, CacheTypes types) {
  KvLayer kv;
  kv.window = config.window;
  kv.n_recent = room.n_rows;
  const int64_t n_entries = config.compressed.n_entries(room.n_positions);
  kv.keys = typed_rows(types.keys, room.n_rows + n_entries, config.key_width());
  if (config.value_width() > 0) kv.values = typed_rows(types.values, room.n_rows, config.value_width());
  if (config.compressed.has_index()) kv.index_keys = typed_rows(types.keys, n_entries, config.compressed.index_head);
  if (chooses_positions(config, room.n_positions))
    kv.index_keys = typed_rows(types.keys, config.indexer.n_keys(room.n_positions), config.indexer.head);
  return kv;
}

uint64_t bytes_of(const compute::TypedRows& rows) { return static_cast<uint64_t>(rows.rows * rows.stride); }

}  // namespace

void check_cache_types(const AttentionConfig& config, CacheTypes types) {
  if (!config.attends()) return;
  if (config.value_width() > 0) {
    check_heads(types.keys, config.head_k, "keys");
    check_heads(types.values, config.head_v, "values");
  } else if (config.mixer == Mixer::kCompressed) {
    check_heads(types.keys, config.head_k, "keys");
    if (config.compressed.has_index()) check_heads(types.keys, config.compressed.index_head, "the indexer's keys");
  } else {
    check_heads(types.keys, config.key_width(), "latents with keys");
    check_heads(types.keys, config.kv_lora_rank, "latents");
  }
  if (config.indexer.is_built()) check_heads(types.keys, config.indexer.head, "keys of the indexer");
}

int64_t longest_context(const ModelConfig& config) {
  int64_t longest = config.n_context;
  for (const LayerConfig& layer : config.layers) {
    const IndexerConfig& indexer = layer.attention.indexer;
    if (indexer.kind == IndexerConfig::Kind::kBlocks) longest = std::min(longest, indexer.n_best * indexer.block);
  }
  return longest;
}

void check_context(const std::string& path, const ModelConfig& config, int64_t n_positions) {
  for (const LayerConfig& layer : config.layers) {
    const IndexerConfig& indexer = layer.attention.indexer;
    if (indexer.kind != IndexerConfig::Kind::kBlocks || !indexer.chooses(n_positions)) continue;
    fail(path,
         "a context of {} tokens: beyond {} ({} blocks of {}) {} models attend to chosen blocks only, which is not "
         "built",
         n_positions, indexer.n_best * indexer.block, indexer.n_best, indexer.block, config.architecture);
  }
}

CacheRoom cache_room(const AttentionConfig& config, int64_t n_positions, int64_t n_batch) {
  constexpr int64_t kMoveEvery = 256;
  const bool slides = config.mixer == Mixer::kAttention || config.mixer == Mixer::kCompressed;
  if (config.window == 0 || !slides) return n_positions;
  const int64_t moved = config.mixer == Mixer::kCompressed ? 0 : kMoveEvery;  // positions take turns in rows
  return {std::min(n_positions, config.window - 1 + n_batch + moved), n_positions};
}

uint64_t kv_layer_bytes(const AttentionConfig& config, CacheRoom room, CacheTypes types) {
  const uint64_t state = static_cast<uint64_t>(state_values(config) + ngram_values(config.ngrams)) * sizeof(float);
  if (!config.attends()) return state;
  const KvLayer kv = kv_views(config, room, types);
  return state + bytes_of(kv.keys) + bytes_of(kv.values) + bytes_of(kv.index_keys);
}

KvLayer make_kv_layer(Backend& backend, const AttentionConfig& config, CacheRoom room, CacheTypes types) {
  KvLayer kv;
  if (config.attends()) kv = kv_views(config, room, types);
  kv.state = make_state(backend, state_values(config));
  kv.ngrams = make_state(backend, ngram_values(config.ngrams));
  if (!config.attends()) return kv;
  kv.memory = backend.allocate(kv_layer_bytes(config, room, types) - kv.state.bytes - kv.ngrams.bytes);
  kv.keys.data = kv.memory.get();
  kv.index_keys.data = kv.keys.data + bytes_of(kv.keys);
  if (config.value_width() > 0)
    kv.values.data = kv.index_keys.data + bytes_of(kv.index_keys);
  else
    kv.values = kv.keys.first_columns(config.absorbed() ? config.kv_lora_rank : config.head_v);
  return kv;
}

bool is_whole_past(const AttentionConfig& config) {
  const bool keeps_positions =
      config.mixer == Mixer::kNone || config.mixer == Mixer::kAttention || config.mixer == Mixer::kLatent;
  return keeps_positions && state_values(config) + ngram_values(config.ngrams) == 0 && config.window == 0;
}

void copy_rows(Backend& backend, const KvLayer& from, const KvLayer& to, int64_t n) {
  const auto copy = [&](const compute::TypedRows& source, const compute::TypedRows& target) {
    if (source.rows == 0) return;
    const int64_t width = source.stride / static_cast<int64_t>(sizeof(float));  // rows are whole cache lines
    const auto bytes_as_floats = [&](const compute::TypedRows& rows) {
      return Matrix{reinterpret_cast<float*>(rows.data), n, width, width};
    };
    backend.copy(bytes_as_floats(source), bytes_as_floats(target));
  };
  copy(from.keys, to.keys);
  copy(from.index_keys, to.index_keys);
  if (from.values.data != from.keys.data) copy(from.values, to.values);  // else part of them
}

}  // namespace steelyard::model
