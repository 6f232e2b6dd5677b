#include "model/forward.h"

#include <algorithm>
#include <cmath>

#include "model/residual.h"

namespace steelyard::model {

Matrix Products::add(const Weight& weight, Matrix x, const Routing* routing) {
  if (ctx_.observer != nullptr) {
    if (routing != nullptr)
      ctx_.observer->experts(ctx_.backend, weight, x, *routing);
    else
      ctx_.observer->dense(ctx_.backend, weight, 0, x);
  }
  const Matrix out = ctx_.scratch.matrix(x.rows, weight.n_out);
  products_.push_back({&weight, 0, x, out, routing});
  return out;
}

void add_bias(Matrix y, const Vector& bias, ForwardContext& ctx) {
  if (bias.data != nullptr) ctx.backend.add_row(y, bias.data);
}

Matrix linear(const Weight& weight, Matrix x, ForwardContext& ctx, const Vector& bias) {
  Products one(ctx);
  const Matrix out = one.add(weight, x);
  one.run();
  add_bias(out, bias, ctx);
  return out;
}

float* resume_state(const SequenceSlice& sequence, ForwardContext& ctx) {
  RecurrentState& state = sequence.kv->state;
  if (sequence.first_position == 0) {
    if (state.bytes > 0) ctx.backend.zero(state.memory.get(), state.bytes);
    state.n_positions = 0;
  }
  STEELYARD_CHECK(state.n_positions == sequence.first_position);
  state.n_positions += sequence.n_rows;
  return state.values();
}

void rope_heads(const Layer& layer, Matrix x, int64_t n_head, int64_t head_stride,
                std::span<const SequenceSlice> sequences, ForwardContext& ctx,
                std::optional<compute::RopePairs> pairs) {
  const RopeConfig& rope = layer.config.attention.rope;
  if (!layer.config.attention.rotates()) return;
  for (const SequenceSlice& s : sequences) {
    const RopeTable& table = s.extended && rope.scaling == RopeScaling::kLongrope ? layer.rope_long : layer.rope;
    STEELYARD_CHECK(table.cos != nullptr);
    ctx.backend.rope(x.slice(s.first_row, s.n_rows), {n_head, head_stride, rope.n_dims, pairs.value_or(rope.pairs),
                                                      table.cos, table.sin, s.first_position});
  }
}

void temper_queries(const AttentionConfig& config, Matrix q, std::span<const SequenceSlice> sequences,
                    ForwardContext& ctx) {
  if (config.temperature == 0) return;
  for (const SequenceSlice& s : sequences) {
    const int64_t end = s.first_position + s.n_rows;
    for (int64_t begin = s.first_position, next = 0; begin < end; begin = next) {
      const int64_t period = begin / config.temperature_length;
      next = std::min(end, (period + 1) * config.temperature_length);
      if (period == 0) continue;  // of factor 1
      const double factor = 1.0 + double{config.temperature} * std::log(static_cast<double>(period + 1));
      ctx.backend.scale(q.slice(s.first_row + begin - s.first_position, next - begin), static_cast<float>(factor));
    }
  }
}

namespace {

// Moves the last n of the first from + n rows to the beginning, in parts that do not overlap.
void move_to_begin(compute::TypedRows rows, int64_t from, int64_t n, ForwardContext& ctx) {
  const int64_t width = rows.stride / static_cast<int64_t>(sizeof(float));
  const Matrix all{reinterpret_cast<float*>(rows.data), rows.rows, width, width};
  for (int64_t begin = 0; begin < n; begin += from) {
    const int64_t count = std::min(from, n - begin);
    ctx.backend.copy(all.slice(from + begin, count), all.slice(begin, count));
  }
}

// A cache with fewer rows than positions keeps what the next query sees, when it is full.
void make_room(const SequenceSlice& s, ForwardContext& ctx) {
  KvLayer& kv = *s.kv;
  if (s.first_position == 0) kv.first = 0;
  if (s.kv_begin + s.first_position - kv.first + s.n_rows <= kv.keys.rows) return;
  const int64_t first = std::max(kv.first, s.first_position - (kv.window - 1));
  const int64_t n_kept = s.first_position - first;
  STEELYARD_CHECK(kv.window > 0 && s.kv_begin == 0 && n_kept + s.n_rows <= kv.keys.rows);
  move_to_begin(kv.keys, first - kv.first, n_kept, ctx);
  if (kv.values.data != kv.keys.data) move_to_begin(kv.values, first - kv.first, n_kept, ctx);  // else part of them
  kv.first = first;
}

}  // namespace

void store_keys(Matrix keys, std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  for (const SequenceSlice& s : sequences) {
    make_room(s, ctx);
    const int64_t row = s.kv_begin + s.first_position - s.kv->first;
    STEELYARD_CHECK(row >= 0 && row + s.n_rows <= s.kv->keys.rows);
    ctx.backend.store(keys.slice(s.first_row, s.n_rows), s.kv->keys.slice(row, s.n_rows));
  }
}

void store_values(Matrix values, std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  for (const SequenceSlice& s : sequences) {
    const int64_t row = s.kv_begin + s.first_position - s.kv->first;
    ctx.backend.store(values.slice(s.first_row, s.n_rows), s.kv->values.slice(row, s.n_rows));
  }
}

Matrix attend(compute::AttentionArgs args, std::span<const SequenceSlice> sequences, ForwardContext& ctx,
              std::span<const Matrix> visible) {
  const Matrix out = ctx.scratch.matrix(args.q.rows, args.n_head * args.head_v), queries = args.q;
  std::vector<compute::Attention> all;
  for (const SequenceSlice& s : sequences) {
    const int64_t first_position = s.first_position - s.kv->first;  // only distances count
    const int64_t n_keys = first_position + s.n_rows;
    args.q = queries.slice(s.first_row, s.n_rows);
    args.k = s.kv->keys.slice(s.kv_begin, n_keys);
    args.v = s.kv->values.slice(s.kv_begin, n_keys);
    args.first_position = first_position;
    if (!visible.empty()) args.visible = visible[all.size()];
    all.push_back({args, out.slice(s.first_row, s.n_rows)});
  }
  ctx.backend.attentions(all);
  return out;
}

void gate_heads(const Layer& layer, Matrix h, Matrix mixed, ForwardContext& ctx) {
  const Weight& weight = layer.weights.attention.gate;
  if (weight.empty()) return;
  const Matrix gate = linear(weight, h, ctx);
  const int64_t width = mixed.cols / gate.cols;  // of what one gate is for
  ctx.backend.apply_gate(*layer.config.attention.output_gate, as_heads(mixed, width), as_heads(gate, 1));
}

Matrix normed(const Vector& weight, Matrix x, ForwardContext& ctx) {
  const Matrix out = ctx.scratch.matrix(x.rows, x.cols);
  ctx.backend.rms_norm(x, weight.data, ctx.norm_eps, out);
  return out;
}

Matrix normed_runs(const Vector& weights, Matrix x, int64_t width, ForwardContext& ctx) {
  STEELYARD_CHECK(weights.n == x.cols);
  const Matrix out = ctx.scratch.matrix(x.rows, x.cols);
  for (int64_t begin = 0; begin < x.cols; begin += width)
    ctx.backend.rms_norm(x.columns(begin, width), weights.data + begin, ctx.norm_eps, out.columns(begin, width));
  return out;
}

Matrix centered_norm(const Vector& weight, Matrix x, ForwardContext& ctx) {
  const Matrix out = ctx.scratch.matrix(x.rows, x.cols);
  ctx.backend.copy(x, out);
  ctx.backend.center(out);
  ctx.backend.rms_norm(out, weight.data, ctx.norm_eps, out);
  return out;
}

namespace {

// What a branch computes from: the residual stream, normed where the architecture has a norm there.
Matrix branch_input(const LayerConfig& config, const Vector& norm, Matrix x, ForwardContext& ctx) {
  if (config.input_norms) return config.centered_norms ? centered_norm(norm, x, ctx) : normed(norm, x, ctx);
  const Matrix out = ctx.scratch.matrix(x.rows, x.cols);  // without gaps between rows, and not to be changed
  ctx.backend.copy(x, out);
  return out;
}

// What a branch adds to the hidden states: its output, normed and scaled where the architecture does.
Matrix contribution(const LayerConfig& config, const Vector& norm, Matrix y, ForwardContext& ctx) {
  const Matrix out = norm.data != nullptr ? normed(norm, y, ctx) : y;
  if (config.branch_scale != 1) ctx.backend.scale(out, config.branch_scale);
  return out;
}

Matrix mix(const Layer& layer, Matrix h, Matrix side, std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  switch (layer.config.attention.mixer) {
    case Mixer::kDeltaNet:
      return delta_net(layer, h, sequences, ctx);
    case Mixer::kShortConv:
      return short_conv(layer, h, sequences, ctx);
    case Mixer::kStateSpace:
      return state_space(layer, h, sequences, ctx);
    case Mixer::kKimiDelta:
      return kimi_delta(layer, h, sequences, ctx);
    case Mixer::kLatent:
      return latent_attention(layer, h, side, sequences, ctx);
    case Mixer::kCompressed:
      return compressed_attention(layer, h, sequences, ctx);
    case Mixer::kAttention:
    case Mixer::kNone:
      break;
  }
  return attention(layer, h, side, sequences, ctx);
}

void pass_mixer(const Layer& layer, Matrix x, std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  if (layer.config.attention.mixer == Mixer::kNone) return;
  if (layer.config.attention.ngrams.exists()) add_ngrams(layer, x, sequences, ctx);
  const AttentionWeights& w = layer.weights.attention;
  const BranchInput input = read_branch(layer, Branch::kMixer, x, ctx);
  const Matrix side = layer.config.streams.side(x);
  const Matrix y = mix(layer, branch_input(layer.config, w.norm, input.x, ctx), side, sequences, ctx);
  add_branch(layer, Branch::kMixer, input, contribution(layer.config, w.branch_norm, y, ctx), x, ctx);
}

void pass_ffn(const Layer& layer, Matrix x, ForwardContext& ctx) {
  if (!layer.config.ffn.exists()) return;
  const FfnWeights& w = layer.weights.ffn;
  const BranchInput input = read_branch(layer, Branch::kFfn, x, ctx);
  std::vector<int32_t> ids;
  if (layer.config.ffn.by_token) ids = token_ids(layer.config.streams, x, ctx);
  const Matrix y = layer.config.ffn.own_norms ? ffn_with_own_norms(layer, input.x, ctx)
                                              : ffn(layer, branch_input(layer.config, w.norm, input.x, ctx), ids, ctx);
  add_branch(layer, Branch::kFfn, input, contribution(layer.config, w.branch_norm, y, ctx), x, ctx);
}

}  // namespace

void forward_layer(const Layer& layer, Matrix x, std::span<const SequenceSlice> sequences, ForwardContext& ctx,
                   LayerPart part) {
  STEELYARD_CHECK(layer.backend == &ctx.backend);
  ctx.scratch.reset();
  if (part != LayerPart::kFfn) pass_mixer(layer, x, sequences, ctx);
  if (part == LayerPart::kMixer) return;
  pass_ffn(layer, x, ctx);
  if (layer.config.embedding.width > 0) add_layer_embedding(layer, x, ctx);
  if (layer.weights.output_scale != 1) ctx.backend.scale(layer.config.streams.stream(x, 0), layer.weights.output_scale);
}

void forward_layer(const Layer& layer, Matrix x, int64_t first_position, KvLayer& kv, ForwardContext& ctx,
                   LayerPart part) {
  const SequenceSlice all{0,   x.rows, first_position,
                          &kv, 0,      is_extended(layer.config.attention.rope, first_position + x.rows)};
  forward_layer(layer, x, std::span(&all, 1), ctx, part);
}

}  // namespace steelyard::model
