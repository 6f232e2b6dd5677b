// qwen4exp: Qwen 4 as llama.cpp has it, which calls its own form provisional.
//
// qwen35moe without norms, with hyper-connections of low rank, with embeddings of grams in some blocks, and with a
// sigmoid gate after gated delta nets. Full attention sees blocks that an indexer chooses once a text is longer than
// these may be; such texts are refused.
#include <algorithm>

#include "model/architecture.h"

namespace steelyard::model {

ModelConfig read_qwen35moe(const ModelKeys& keys);

namespace {

StreamsConfig read_streams(const ModelKeys& keys, int64_t n_embd) {
  constexpr const char *kCount = "hyper_connection.count", *kRank = "hyper_connection.low_rank";
  constexpr int64_t kMaxStreams = 64;
  StreamsConfig streams;
  streams.kind = StreamsConfig::Kind::kLowRank;
  streams.n = keys.count(kCount);
  if (streams.n > kMaxStreams) keys.reject(kCount, "is {}, expected at most {}", streams.n, kMaxStreams);
  streams.low_rank = keys.count(kRank);
  if (streams.low_rank > streams.n * n_embd)
    keys.reject(kRank, "is {}, expected at most the width of all streams, {}", streams.low_rank, streams.n * n_embd);
  return streams;
}

NgramConfig read_ngrams(const ModelKeys& keys, const ModelConfig& config) {
  constexpr const char *kLength = "ple.ngram_size", *kHeads = "ple.heads_per_ngram", *kRows = "ple.head_vocab_sizes",
                       *kTaps = "ple.conv_kernel";
  constexpr int64_t kMaxLength = 64, kMaxHeads = 1024, kMaxTaps = 1024;
  const auto up_to = [&](const char* key, int64_t most) {
    const int64_t value = keys.count(key);
    if (value > most) keys.reject(key, "is {}, expected at most {}", value, most);
    return value;
  };
  NgramConfig ngrams;
  ngrams.n = up_to(kLength, kMaxLength);
  if (ngrams.n < 2) keys.reject(kLength, "is {}, expected at least 2", ngrams.n);
  const int64_t n_heads = (ngrams.n - 1) * up_to(kHeads, kMaxHeads);
  ngrams.head_width = keys.count("embedding_length_per_layer_input");
  if (ngrams.head_width * n_heads != config.n_embd) {
    keys.reject("embedding_length_per_layer_input", "is {} for {} heads, expected embedding_length {} together",
                ngrams.head_width, n_heads, config.n_embd);
  }
  ngrams.n_taps = up_to(kTaps, kMaxTaps);
  ngrams.stream_width = config.streams.n * config.n_embd;
  ngrams.end_of_text = keys.count("ple.eos_token_id", 0);
  ngrams.factors = keys.factors("ple.layer_multipliers", static_cast<size_t>(ngrams.n));
  ngrams.offsets = keys.counts("ple.head_offsets", static_cast<size_t>(n_heads));
  ngrams.n_rows = keys.counts(kRows, static_cast<size_t>(n_heads));
  if (std::ranges::min(ngrams.n_rows) < 1) keys.reject(kRows, "holds 0, expected at least 1");
  return ngrams;
}

IndexerConfig read_indexer(const ModelKeys& keys, int64_t block) {
  constexpr const char* kBest = "attention.indexer.top_k";
  IndexerConfig indexer;
  indexer.kind = IndexerConfig::Kind::kBlocks;
  indexer.n_head = keys.count("attention.indexer.head_count");
  indexer.head = keys.count("attention.indexer.key_length");
  indexer.block = block;
  indexer.n_best = keys.count(kBest) / block;
  if (indexer.n_best == 0) keys.reject(kBest, "is less than a block of {}", block);
  return indexer;
}

}  // namespace

ModelConfig read_qwen4exp(const ModelKeys& keys) {
  ModelConfig config = read_qwen35moe(keys);
  config.runs_prediction = false;
  config.output_norm.clear();
  config.streams = read_streams(keys, config.n_embd);
  const size_t n = config.layers.size();
  const std::vector<int64_t> blocks = keys.contains("attention.compress_ratios")
                                          ? keys.entries("attention.compress_ratios", n)
                                          : std::vector<int64_t>(n);
  for (size_t i = 0; i < n; ++i) {
    LayerConfig& layer = config.layers[i];
    layer.input_norms = false;
    layer.attention.scale = static_cast<float>(keys.positive_or("attention.scale", layer.attention.scale));
    layer.attention.delta_net.sigmoid_gate = true;
    if (layer.attention.mixer == Mixer::kAttention && blocks[i] > 0)
      layer.attention.indexer = read_indexer(keys, blocks[i]);
  }
  constexpr const char* kLayers = "ple.layers";
  if (!keys.contains(kLayers)) return config;
  for (const int64_t layer : keys.numbers(kLayers)) {
    if (layer >= static_cast<int64_t>(n)) keys.reject(kLayers, "holds {}, expected less than {} blocks", layer, n);
    config.layers[static_cast<size_t>(layer)].attention.ngrams = read_ngrams(keys, config);
    config.streams.has_id = true;
  }
  return config;
}

}  // namespace steelyard::model
