// Attention of DeepSeek V4. One vector per position serves all heads as key and value. Recent positions are seen within
// a window. Of all earlier ones, complete blocks are pooled to one entry each, and an indexer may choose the entries
// that a query sees. Recent positions and entries take part in one softmax.
#include <algorithm>
#include <cmath>
#include <utility>

#include "model/pending_blocks.h"

namespace steelyard::model {
namespace {

// What entries are pooled from, a row per position.
struct Pooled {
  Matrix values, gates;
};

struct Projections {
  Matrix q;           // [n, H * head_k], rotated
  Matrix kv;          // [n, head_k], rotated
  Pooled entries;     // [n, O * head_k]
  Matrix index_q;     // [n, n_index_head * index_head], rotated
  Matrix index_mix;   // [n, n_index_head]: weights of the indexer's heads
  Pooled index_keys;  // [n, O * index_head]
};

// Rotates the last n_dims columns of every head; row t is at position first + t * step.
void rotate(const Layer& layer, Matrix x, int64_t head, int64_t first, int64_t step, bool back, ForwardContext& ctx) {
  const RopeConfig& rope = layer.config.attention.rope;
  const int64_t begin = head - rope.n_dims;
  STEELYARD_CHECK(layer.rope.cos != nullptr);
  ctx.backend.rope(x.columns(begin, x.cols - begin),
                   {x.cols / head, head, rope.n_dims, rope.pairs, layer.rope.cos, layer.rope.sin, first, back, step});
}

void rotate(const Layer& layer, Matrix x, int64_t head, std::span<const SequenceSlice> sequences, bool back,
            ForwardContext& ctx) {
  for (const SequenceSlice& s : sequences)
    rotate(layer, x.slice(s.first_row, s.n_rows), head, s.first_position, 1, back, ctx);
}

Projections project(const Layer& layer, Matrix h, std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  const AttentionConfig& config = layer.config.attention;
  const CompressedConfig& own = config.compressed;
  const AttentionWeights& w = layer.weights.attention;
  const CompressedWeights& c = w.compressed;
  Products of_input(ctx), of_low_rank(ctx);
  Projections out;
  const Matrix low = of_input.add(w.q_a, h);
  out.kv = of_input.add(c.kv, h);
  if (own.block > 0) out.entries = {of_input.add(c.entries.kv, h), of_input.add(c.entries.gate, h)};
  if (own.has_index()) {
    out.index_keys = {of_input.add(c.index_keys.kv, h), of_input.add(c.index_keys.gate, h)};
    out.index_mix = of_input.add(c.index_mix, h);
  }
  of_input.run();
  ctx.backend.rms_norm(low, w.q_a_norm.data, ctx.norm_eps, low);
  out.q = of_low_rank.add(w.q_b, low);
  if (own.has_index()) out.index_q = of_low_rank.add(c.index_q, low);
  of_low_rank.run();

  const Matrix heads = as_heads(out.q, config.head_k);
  ctx.backend.rms_norm(heads, nullptr, ctx.norm_eps, heads);
  ctx.backend.rms_norm(out.kv, w.kv_a_norm.data, ctx.norm_eps, out.kv);
  rotate(layer, out.q, config.head_k, sequences, false, ctx);
  rotate(layer, out.kv, config.head_k, sequences, false, ctx);
  if (own.has_index()) {
    rotate(layer, out.index_q, own.index_head, sequences, false, ctx);
    const auto n = static_cast<double>(own.n_index_head * own.index_head);
    ctx.backend.scale(out.index_mix, static_cast<float>(1.0 / std::sqrt(n)));
  }
  return out;
}

// Entries after the first, each from its own block and the block before it: [2 * block rows of each, width]. Of a
// block's columns the first half is for the next entry, the second for its own.
Matrix with_block_before(Matrix x, int64_t block, int64_t n_entries, ForwardContext& ctx) {
  const int64_t width = x.cols / 2;
  const Matrix out = ctx.scratch.matrix(n_entries * 2 * block, width);
  for (int64_t i = 0; i < block; ++i) {  // a place in all blocks at a time
    const auto rows = [&](float* data, int64_t stride) { return Matrix{data, n_entries, width, stride}; };
    ctx.backend.copy(rows(x.row(i), block * x.cols), rows(out.row(i), 2 * block * width));
    ctx.backend.copy(rows(x.row(block + i) + width, block * x.cols), rows(out.row(block + i), 2 * block * width));
  }
  return out;
}

// Entries [begin, end) of a text, normed and rotated. `rows` are those of blocks from first_block on.
Matrix pool(const Layer& layer, const CompressorWeights& w, Pooled rows, int64_t first_block, int64_t begin,
            int64_t end, ForwardContext& ctx) {
  const CompressedConfig& config = layer.config.attention.compressed;
  const int64_t block = config.block, width = w.norm.n, n_rows = (end - first_block) * block;
  const Matrix values = rows.values.slice(0, n_rows), gates = rows.gates.slice(0, n_rows);
  ctx.backend.add_row(as_heads({gates.data, 1, n_rows * gates.cols, n_rows * gates.cols}, block * gates.cols),
                      w.place.data);
  const Matrix out = ctx.scratch.matrix(end - begin, width);
  if (!config.overlaps) {
    ctx.backend.softmax_pool(values, gates, block, out);
  } else {
    int64_t done = 0;
    if (begin == 0) {
      ctx.backend.softmax_pool(values.slice(0, block).columns(width, width),
                               gates.slice(0, block).columns(width, width), block, out.slice(0, 1));
      done = 1;
    }
    if (const int64_t n = out.rows - done; n > 0) {
      ctx.backend.softmax_pool(with_block_before(values, block, n, ctx), with_block_before(gates, block, n, ctx),
                               2 * block, out.slice(done, n));
    }
  }
  ctx.backend.rms_norm(out, w.norm.data, ctx.norm_eps, out);
  rotate(layer, out, width, begin * block, block, false, ctx);
  return out;
}

// Adds the entries of blocks that the sequence's rows complete to its cache.
void add_entries(const Layer& layer, const Projections& in, const SequenceSlice& s, ForwardContext& ctx) {
  const CompressedConfig& config = layer.config.attention.compressed;
  const CompressedWeights& w = layer.weights.attention.compressed;
  if (config.block == 0) return;
  PendingBlocks pending(config.block, config.n_halves(), s, resume_state(s, ctx), ctx);
  const int64_t begin = pending.begin(), end = pending.end();
  const auto add = [&](const CompressorWeights& compressor, Pooled x, compute::TypedRows to) {
    const Pooled rows{pending.joined(x.values), pending.joined(x.gates)};
    if (begin == end) return;
    ctx.backend.store(pool(layer, compressor, rows, pending.first_block(), begin, end, ctx),
                      to.slice(begin, end - begin));
  };
  add(w.entries, in.entries, s.kv->keys.slice(s.kv->n_recent, s.kv->keys.rows - s.kv->n_recent));
  if (config.has_index()) add(w.index_keys, in.index_keys, s.kv->index_keys);
}

// Recent positions take turns in the rows of the cache. Rows that have had none yet are 0, so that nothing which is not
// seen can be NaN.
void store_recent(Matrix kv, const SequenceSlice& s, ForwardContext& ctx) {
  const int64_t n = s.kv->n_recent, window = s.kv->window;
  STEELYARD_CHECK(s.first_position + s.n_rows <= n || (window > 0 && s.n_rows + window - 1 <= n));
  const compute::TypedRows rows = s.kv->keys.slice(0, n);
  if (s.first_position == 0) ctx.backend.zero(rows.data, static_cast<size_t>(n * rows.stride));
  for (int64_t begin = 0; begin < s.n_rows;) {
    const int64_t row = (s.first_position + begin) % n, count = std::min(s.n_rows - begin, n - row);
    ctx.backend.store(kv.slice(s.first_row + begin, count), rows.slice(row, count));
    begin += count;
  }
}

// [n, n_recent + n_entries] for queries from position `first` on: the window, and entries of blocks that are complete.
// The cache has positions up to `last`.
std::vector<float> seen(const KvLayer& kv, int64_t block, int64_t first, int64_t n, int64_t last, int64_t n_entries) {
  const int64_t n_recent = kv.n_recent;
  std::vector<float> all(static_cast<size_t>(n * (n_recent + n_entries)));
  for (int64_t t = 0; t < n; ++t) {
    float* const row = all.data() + t * (n_recent + n_entries);
    const int64_t position = first + t, begin = kv.window > 0 ? std::max<int64_t>(0, position - kv.window + 1) : 0;
    STEELYARD_CHECK(begin + n_recent > last);
    for (int64_t p = begin; p <= position; ++p) row[p % n_recent] = 1;
    if (block > 0) std::fill_n(row + n_recent, std::min(n_entries, (position + 1) / block), 1.0f);
  }
  return all;
}

// Some queries at a time: what each sees of a long text would take more memory than all else.
void attend_to(const Layer& layer, const Projections& in, const SequenceSlice& s, Matrix out, ForwardContext& ctx) {
  const AttentionConfig& config = layer.config.attention;
  const CompressedConfig& own = config.compressed;
  const KvLayer& kv = *s.kv;
  const int64_t end = s.first_position + s.n_rows, n_entries = own.n_entries(end), n_keys = kv.n_recent + n_entries;
  const int64_t n_at_once = std::clamp<int64_t>(kSeenAtOnce / n_keys, 1, s.n_rows);
  const Matrix visible = ctx.scratch.matrix(n_at_once, n_keys);
  const bool chooses = own.has_index() && n_entries > own.n_best;
  const Matrix scores = chooses ? ctx.scratch.matrix(n_at_once, n_entries) : Matrix{};
  for (int64_t begin = 0; begin < s.n_rows; begin += n_at_once) {
    const int64_t n = std::min(n_at_once, s.n_rows - begin), first = s.first_position + begin;
    const auto rows = [&](Matrix x) { return x.slice(s.first_row + begin, n); };
    const Matrix of_rows = visible.slice(0, n);
    const std::vector<float> host = seen(kv, own.block, first, n, end - 1, n_entries);
    ctx.backend.upload(of_rows.data, host.data(), host.size() * sizeof(float));
    if (chooses) {
      const Matrix scored = scores.slice(0, n);
      ctx.backend.index_scores(rows(in.index_q), rows(in.index_mix), kv.index_keys.slice(0, n_entries), scored);
      ctx.backend.select({first, own.block, own.n_best, /*positions=*/false}, scored,
                         of_rows.columns(kv.n_recent, n_entries));
    }
    ctx.backend.attention(
        {rows(in.q), kv.keys.slice(0, n_keys), kv.values.slice(0, n_keys), config.n_head, 1, config.head_k,
         config.head_v, config.scale, first, 0, layer.weights.attention.sinks.data, 0, of_rows},
        rows(out));
  }
}

// Groups of heads go through a product of low rank each.
Matrix of_groups(const CompressedConfig& config, const CompressedWeights& w, Matrix mixed, ForwardContext& ctx) {
  const Weight& weight = w.output_a;
  Weight in_file = weight;
  if (w.output_a_flat) {
    in_file.n_out *= in_file.n_slices;
    in_file.n_slices = 1;
  }
  const Matrix out = ctx.scratch.matrix(mixed.rows, config.n_group * config.group_rank);
  std::vector<compute::Product> groups;
  for (int64_t g = 0; g < config.n_group; ++g) {
    const Matrix x = mixed.columns(g * weight.n_in, weight.n_in);
    groups.push_back({&weight, g, x, out.columns(g * weight.n_out, weight.n_out)});
    if (ctx.observer != nullptr) ctx.observer->dense(ctx.backend, in_file, w.output_a_flat ? 0 : g, x);
  }
  ctx.backend.mul_mats(groups);
  return out;
}

}  // namespace

Matrix compressed_attention(const Layer& layer, Matrix h, std::span<const SequenceSlice> sequences,
                            ForwardContext& ctx) {
  const AttentionConfig& config = layer.config.attention;
  const AttentionWeights& w = layer.weights.attention;
  const Projections in = project(layer, h, sequences, ctx);
  const Matrix mixed = ctx.scratch.matrix(h.rows, config.n_head * config.head_v);
  // One after the other: a sequence may have the cache of an earlier one that has ended.
  for (const SequenceSlice& s : sequences) {
    store_recent(in.kv, s, ctx);
    add_entries(layer, in, s, ctx);
    attend_to(layer, in, s, mixed, ctx);
  }
  rotate(layer, mixed, config.head_v, sequences, /*back=*/true, ctx);  // a value has been rotated as the key that it is
  return linear(w.output, of_groups(config.compressed, w.compressed, mixed, ctx), ctx);
}

}  // namespace steelyard::model
