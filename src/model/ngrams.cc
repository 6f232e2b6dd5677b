// Embeddings of the last few tokens together (Qwen 4). Heads hash grams of 2 to n tokens to rows of a large table,
// which stays where the file is. Every residual stream takes of them what its gate lets through, and a short
// convolution of that.
#include <algorithm>

#include "model/residual.h"

namespace steelyard::model {
namespace {

constexpr int32_t kNone = -1;  // before the text

// Adds the table's rows for the gram that ends with tokens[at], by length and head.
void add_rows(const NgramConfig& config, std::span<const int32_t> tokens, size_t at, std::vector<int64_t>& rows) {
  const auto end = static_cast<int32_t>(config.end_of_text);
  const auto n_heads = static_cast<size_t>(config.heads_per_length());
  uint64_t hash = static_cast<uint64_t>(tokens[at]) * config.factors[0];
  bool cut = false;
  size_t head = 0;
  for (size_t back = 1; back < config.factors.size(); ++back) {
    const int32_t before = tokens[at - back];
    cut = cut || before == kNone || before == end;
    hash ^= static_cast<uint64_t>(cut ? end : before) * config.factors[back];
    for (size_t i = 0; i < n_heads; ++i, ++head)
      rows.push_back(config.offsets[head] + static_cast<int64_t>(hash % static_cast<uint64_t>(config.n_rows[head])));
  }
}

// The tokens before a sequence's rows, then theirs. The last ones stay in the state; there 0 is none.
std::vector<int32_t> with_past(std::span<const int32_t> ids, float* state, int64_t n_past, Backend& backend) {
  std::vector<float> numbers(static_cast<size_t>(n_past));
  backend.download(numbers.data(), state, numbers.size() * sizeof(float));
  std::vector<int32_t> tokens;
  for (const float number : numbers) tokens.push_back(static_cast<int32_t>(number) - 1);
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  const auto last = std::span(tokens).last(numbers.size());
  std::ranges::transform(last, numbers.begin(), [](int32_t id) { return static_cast<float>(id + 1); });
  backend.upload(state, numbers.data(), numbers.size() * sizeof(float));
  return tokens;
}

// [n, n_embd]: every token's rows side by side.
Matrix embed(const NgramConfig& config, const Weight& table, std::span<const int64_t> rows, int64_t n,
             ForwardContext& ctx) {
  std::vector<float> values(rows.size() * static_cast<size_t>(config.head_width));
  for (size_t i = 0; i < rows.size(); ++i) {
    table.format->decode(table.row(0, rows[i]), config.head_width / table.format->block_len,
                         values.data() + i * static_cast<size_t>(config.head_width));
  }
  const Matrix out = ctx.scratch.matrix(n, std::ssize(values) / n);
  ctx.backend.upload(out.data, values.data(), values.size() * sizeof(float));
  return out;
}

}  // namespace

void add_ngrams(const Layer& layer, Matrix x, std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  const NgramConfig& config = layer.config.attention.ngrams;
  const StreamsConfig& streams = layer.config.streams;
  const NgramWeights& w = layer.weights.ngrams;
  const std::vector<int32_t> ids = token_ids(streams, x, ctx);
  std::vector<int64_t> rows;
  for (const SequenceSlice& s : sequences) {
    RecurrentState& state = s.kv->ngrams;
    STEELYARD_CHECK(s.first_position == 0 || state.n_positions == s.first_position);
    state.n_positions = s.first_position + s.n_rows;
    float* const past = state.values() + config.conv_values();
    if (s.first_position == 0) ctx.backend.zero(past, static_cast<size_t>(config.n_past()) * sizeof(float));
    const auto own = std::span(ids).subspan(static_cast<size_t>(s.first_row), static_cast<size_t>(s.n_rows));
    const std::vector<int32_t> tokens = with_past(own, past, config.n_past(), ctx.backend);
    for (size_t t = 0; t < own.size(); ++t) add_rows(config, tokens, t + tokens.size() - own.size(), rows);
  }
  const Matrix embedded = embed(config, w.table, rows, x.rows, ctx);

  Products products(ctx);
  const Matrix keys = products.add(w.key, embedded), values = products.add(w.value, embedded);
  products.run();
  const Matrix gates = ctx.scratch.matrix(x.rows, streams.n);
  const int64_t width = streams.n_embd;
  ctx.backend.similarity_gate(as_heads(normed_runs(w.key_norm, keys, width, ctx), width),
                              as_heads(normed_runs(w.query_norm, streams.all(x), width, ctx), width),
                              as_heads(gates, 1));
  const Matrix added = ctx.scratch.matrix(x.rows, streams.n * width);
  ctx.backend.mix_streams(values, gates, width, added, /*add=*/false);
  const Matrix input = normed_runs(w.conv_norm, added, width, ctx);
  const Matrix mixed = ctx.scratch.matrix(x.rows, added.cols);
  for (const SequenceSlice& s : sequences) {  // which may have one state, one after the other
    float* const state = s.kv->ngrams.values();
    if (s.first_position == 0) ctx.backend.zero(state, static_cast<size_t>(config.conv_values()) * sizeof(float));
    const auto own = [&](Matrix of) { return of.slice(s.first_row, s.n_rows); };
    ctx.backend.causal_conv({.taps = w.conv.data, .n_taps = config.n_taps, .dilation = config.n}, own(input), state,
                            own(mixed));
  }
  ctx.backend.add(streams.all(x), added);
  ctx.backend.add(streams.all(x), mixed);
}

}  // namespace steelyard::model
