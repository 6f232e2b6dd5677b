// What layers remember of past positions: keys and values, in chosen types, or the state of a recurrence. Latent
// attention caches [latent | roped key] once; its values are a view of it.
#pragma once

#include <string>
#include <vector>

#include "compute/backend.h"
#include "model/config.h"

namespace steelyard::model {

/// Types of cached keys and values. Latent attention has one row for both, in the type of the keys.
struct CacheTypes {
  formats::Type keys = formats::Type::F32;
  formats::Type values = formats::Type::F32;
};

/// What a recurrent mixer carries from token to token, in an order of its own; zeros at first. It is the state after
/// exactly n_positions positions: a sequence can be continued, or restarted at position 0, but not taken back.
struct RecurrentState {
  Buffer memory;
  size_t bytes = 0;
  int64_t n_positions = 0;

  float* values() const { return reinterpret_cast<float*>(memory.get()); }
};

/// Room for a text.
struct CacheRoom {
  int64_t n_rows;       ///< of positions one by one
  int64_t n_positions;  ///< that the text grows to: what pooled entries stand for

  CacheRoom(int64_t n) : n_rows(n), n_positions(n) {}  // NOLINT: for all positions
  CacheRoom(int64_t rows, int64_t positions) : n_rows(rows), n_positions(positions) {}
};

/// One or the other, depending on the layer's mixer. Row r is that of position first + r: of a layer with a window,
/// earlier positions leave the cache when it is full.
struct KvLayer {
  RecurrentState state;
  RecurrentState ngrams;      // of NgramConfig: the inputs of its convolution, then the last tokens as numbers above 0
  compute::TypedRows keys;    // [n_positions, key_width]
  compute::TypedRows values;  // [n_positions, value_width]; latent: the first kv_lora_rank columns of keys
  // Compressed: of keys and values, position p has row p % n_recent, entry b row n_recent + b. What incomplete blocks
  // are pooled from is in `state`.
  int64_t n_recent = 0;
  // For an indexer. Compressed: [n_entries, index_head], of entries; latent: [n_positions, indexer.head], where there
  // is something to choose from.
  compute::TypedRows index_keys;
  Buffer memory;
  int64_t window = 0;  // the layer's
  int64_t first = 0;
};

/// Room for a text that grows to n_positions by at most n_batch at a time: with a window, rows enough for the window,
/// for what comes next, and for not moving the window too often.
CacheRoom cache_room(const AttentionConfig& config, int64_t n_positions, int64_t n_batch);

/// Error when the width of a head is not a multiple of a type's block length, or a type cannot be written.
void check_cache_types(const AttentionConfig& config, CacheTypes types);

/// Error when a text of n_positions would need a choice of past positions that is not built.
void check_context(const std::string& path, const ModelConfig& config, int64_t n_positions);
/// The longest text that passes; no more than the model was made for.
int64_t longest_context(const ModelConfig& config);

/// What make_kv_layer allocates. types: must have passed the check.
uint64_t kv_layer_bytes(const AttentionConfig& config, CacheRoom room, CacheTypes types = {});

/// room: the number of positions, or cache_room's. types: must have passed the check.
KvLayer make_kv_layer(Backend& backend, const AttentionConfig& config, CacheRoom room, CacheTypes types = {});

using KvCache = std::vector<KvLayer>;  // one per layer of the trunk

/// Whether a cache holds every position of a text in a row of its own, and nothing else of it.
bool is_whole_past(const AttentionConfig& config);
/// The rows of the first n positions, between caches of one layer for which is_whole_past().
void copy_rows(Backend& backend, const KvLayer& from, const KvLayer& to, int64_t n);

}  // namespace steelyard::model
