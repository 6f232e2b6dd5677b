#include "compute/gradient_tape.h"

#include <mutex>

#include "base/error.h"

namespace steelyard::compute {

// By the address where it begins.
struct GradientTape::Memories {
  std::mutex mutex;  // layers may be bound by another thread
  std::map<const std::byte*, Memory> all;
};

GradientTape::GradientTape(Backend& backend)
    : backend_(backend), memories_(std::make_shared<Memories>()), copies_(backend) {}
GradientTape::~GradientTape() = default;

Buffer GradientTape::allocate(size_t bytes) {
  Buffer memory = backend_.allocate(bytes);
  std::byte* const begin = memory.get();
  const std::lock_guard lock(memories_->mutex);
  memories_->all[begin] = {bytes, nullptr, false};
  return Buffer(begin, [memory = std::move(memory), memories = memories_](std::byte* p) {
    const std::lock_guard freeing(memories->mutex);
    memories->all.erase(p);
  });
}

std::byte* GradientTape::gradient_at(const void* address) {
  const auto* const at = static_cast<const std::byte*>(address);
  const std::lock_guard lock(memories_->mutex);
  auto found = memories_->all.upper_bound(at);
  STEELYARD_CHECK(found != memories_->all.begin());
  --found;
  Memory& memory = found->second;
  const auto offset = static_cast<size_t>(at - found->first);
  STEELYARD_CHECK(offset < memory.bytes);
  if (memory.gradients == nullptr) memory.gradients = backend_.allocate(memory.bytes);
  if (!memory.cleared) backend_.zero(memory.gradients.get(), memory.bytes);
  memory.cleared = true;
  return memory.gradients.get() + offset;
}

Matrix GradientTape::gradient(Matrix view) {
  view.data = gradient_of(view.data);
  return view;
}

Matrix GradientTape::gradient_of_rows(const TypedRows& rows) {
  STEELYARD_CHECK(rows.format->type == formats::Type::F32);
  const auto stride = rows.stride / static_cast<int64_t>(sizeof(float));
  return {reinterpret_cast<float*>(gradient_at(rows.data)), rows.rows, rows.cols, stride};
}

float* GradientTape::sums_of(const void* parameter) const {
  const auto found = sums_.find(parameter);
  return found != sums_.end() ? found->second : nullptr;
}

Matrix GradientTape::saved(Matrix x) {
  const Matrix copy = copies_.matrix(x.rows, x.cols);
  backend_.copy(x, copy);
  return copy;
}

void GradientTape::record() {
  notes_.clear();
  copies_.reset();
  const std::lock_guard lock(memories_->mutex);
  for (auto& [address, memory] : memories_->all) memory.cleared = false;
  recording_ = true;
}

void GradientTape::backward(GradientObserver* observer) {
  recording_ = false;
  observer_ = observer;
  for (auto note = notes_.rbegin(); note != notes_.rend(); ++note) (*note)();
  notes_.clear();
}

// ---- rows

void GradientTape::rms_norm(Matrix x, const float* weight, float eps, Matrix out) {
  const Matrix input = saved_if_recording(x);
  backend_.rms_norm(x, weight, eps, out);
  note([=, this] {
    const Matrix dx = gradient(x);
    Matrix dout = gradient(out);
    if (x.data == out.data) {
      dout = saved(dx);
      backend_.scale(dx, 0);
    }
    backend_.rms_norm_backward(input, weight, eps, dout, dx, sums_of(weight));
  });
}

void GradientTape::add(Matrix x, Matrix y) {
  backend_.add(x, y);
  note([=, this] { backend_.add(gradient(y), gradient(x)); });
}

void GradientTape::add_row(Matrix x, const float* row) {
  backend_.add_row(x, row);
  note([=, this] {
    if (float* const sums = sums_of(row)) backend_.sum_rows(gradient(x), sums);
  });
}

void GradientTape::copy(Matrix from, Matrix to) {
  backend_.copy(from, to);
  note([=, this] {
    backend_.add(gradient(from), gradient(to));
    backend_.scale(gradient(to), 0);  // what was there before has no part in the loss
  });
}

void GradientTape::scale(Matrix x, float factor) {
  backend_.scale(x, factor);
  note([=, this] { backend_.scale(gradient(x), factor); });
}

void GradientTape::softcap(Matrix x, float cap) {
  backend_.softcap(x, cap);
  const Matrix out = saved_if_recording(x);
  note([=, this] { backend_.softcap_backward(out, cap, gradient(x)); });
}

void GradientTape::gated(Activation activation, Matrix gate, Matrix up) {
  const Matrix input = saved_if_recording(gate);
  backend_.gated(activation, gate, up);
  note([=, this] {
    // The square of a gate alone may have none beside it.
    const Matrix dup = activation.kind == Activation::kReluSquared ? Matrix{} : gradient(up);
    backend_.gated_backward(activation, input, up, gradient(gate), dup);
  });
}

void GradientTape::apply_gate(Gate kind, Matrix x, Matrix gate) {
  const Matrix input = saved_if_recording(x);
  backend_.apply_gate(kind, x, gate);
  note([=, this] { backend_.apply_gate_backward(kind, input, gate, gradient(x), gradient(gate)); });
}

void GradientTape::center(Matrix x) {
  backend_.center(x);
  note([=, this] { backend_.center(gradient(x)); });
}

// ---- matrix products

void GradientTape::mul_mats(std::span<const Product> products) {
  backend_.mul_mats(products);
  if (!recording_) return;
  // The caller's routings end with its call, but not what they point to.
  std::map<const Routing*, std::shared_ptr<const Routing>> routings;
  std::vector<Product> all(products.begin(), products.end());
  for (Product& product : all) {
    if (product.routing == nullptr) continue;
    auto& own = routings[product.routing];
    if (own == nullptr) own = std::make_shared<const Routing>(*product.routing);
    product.routing = own.get();
  }
  note([this, all = std::move(all), routings = std::move(routings)] { products_backward(all); });
}

void GradientTape::products_backward(const std::vector<Product>& products) {
  std::vector<Product> back;
  std::vector<ScaleGradient> scales;
  for (const Product& product : products) {
    const Matrix dz = gradient(product.out);
    if (observer_ != nullptr) observer_->product(backend_, *product.weight, product.slice, dz, product.routing);
    back.push_back({product.weight, product.slice, gradient(product.x), dz, product.routing});
    if (float* const sums = sums_of(product.weight->data))
      scales.push_back({{product.weight, product.slice, product.x, dz, product.routing}, sums});
  }
  backend_.mul_mats_transposed(back);
  if (!scales.empty()) backend_.scale_gradients(scales);
}

// ---- attention

void GradientTape::store(Matrix from, TypedRows to) {
  backend_.store(from, to);
  note([=, this] { backend_.add(gradient(from), gradient_of_rows(to)); });
}

void GradientTape::rope(Matrix x, const RopeArgs& args) {
  backend_.rope(x, args);
  note([=, this] {
    RopeArgs back = args;
    back.transposed = !args.transposed;
    backend_.rope(gradient(x), back);
  });
}

void GradientTape::attentions(std::span<const Attention> sequences) {
  backend_.attentions(sequences);
  if (!recording_) return;
  for (const Attention& sequence : sequences) STEELYARD_CHECK(sequence.args.visible.data == nullptr);
  std::vector<std::pair<Attention, Matrix>> all;  // with a copy of the result, which a gate may change
  for (const Attention& sequence : sequences) all.emplace_back(sequence, saved(sequence.out));
  note([this, all = std::move(all)] {
    std::vector<AttentionGradient> back;
    for (const auto& [sequence, out] : all) {
      const AttentionArgs& args = sequence.args;
      float* const dsinks = args.sinks != nullptr ? sums_of(args.sinks) : nullptr;
      back.push_back({args, out, gradient(sequence.out), gradient(args.q), gradient_of_rows(args.k),
                      gradient_of_rows(args.v), dsinks});
    }
    backend_.attentions_backward(back);
  });
}

// ---- experts

void GradientTape::route(Matrix logits, const RouteArgs& args, Routing& routing) {
  backend_.route(logits, args, routing);
  note(
      [=, this, of = routing] { backend_.route_backward(logits, args, of, gradient_of(of.weight), gradient(logits)); });
}

void GradientTape::add_row_experts(Matrix y, const float* rows, const Routing& routing) {
  backend_.add_row_experts(y, rows, routing);
  note([=, this] {
    if (float* const sums = sums_of(rows)) backend_.sum_rows_experts(gradient(y), routing, sums);
  });
}

void GradientTape::gather(Matrix x, const Routing& routing, Matrix out) {
  backend_.gather(x, routing, out);
  note([=, this] { backend_.gather_backward(gradient(out), routing, gradient(x)); });
}

void GradientTape::combine(Matrix y, const Routing& routing, Matrix out) {
  backend_.combine(y, routing, out);
  note([=, this] { backend_.combine_backward(y, routing, gradient(out), gradient(y), gradient_of(routing.weight)); });
}

// ---- what has no way back: models are refused before they come here

void GradientTape::causal_conv(const ConvArgs& args, Matrix x, float* state, Matrix out) {
  STEELYARD_CHECK(!recording_);
  backend_.causal_conv(args, x, state, out);
}

void GradientTape::delta_rule(const DeltaRuleArgs& args, float* state, Matrix out) {
  STEELYARD_CHECK(!recording_);
  backend_.delta_rule(args, state, out);
}

void GradientTape::state_space(const StateSpaceArgs& args, float* state, Matrix out) {
  STEELYARD_CHECK(!recording_);
  backend_.state_space(args, state, out);
}
void GradientTape::softmax(Matrix x) {
  STEELYARD_CHECK(!recording_);
  backend_.softmax(x);
}
void GradientTape::hyper_weights(const HyperArgs& args, Matrix m) {
  STEELYARD_CHECK(!recording_);
  backend_.hyper_weights(args, m);
}
void GradientTape::mix_streams(Matrix x, Matrix weights, int64_t width, Matrix out, bool add) {
  STEELYARD_CHECK(!recording_);
  backend_.mix_streams(x, weights, width, out, add);
}
void GradientTape::similarity_gate(Matrix x, Matrix y, Matrix out) {
  STEELYARD_CHECK(!recording_);
  backend_.similarity_gate(x, y, out);
}
void GradientTape::softmax_pool(Matrix x, Matrix scores, int64_t n, Matrix out) {
  STEELYARD_CHECK(!recording_);
  backend_.softmax_pool(x, scores, n, out);
}
void GradientTape::index_scores(Matrix q, Matrix weights, TypedRows k, Matrix scores) {
  STEELYARD_CHECK(!recording_);
  backend_.index_scores(q, weights, k, scores);
}
void GradientTape::select(const SelectArgs& args, Matrix scores, Matrix visible) {
  STEELYARD_CHECK(!recording_);
  backend_.select(args, scores, visible);
}

// ---- what gradients do not pass through

void GradientTape::embed(const Weight& table, std::span<const int32_t> ids, Matrix out) {
  backend_.embed(table, ids, out);
}
void GradientTape::sum_squares(Matrix x, double* sums) { backend_.sum_squares(x, sums); }
void GradientTape::sum_squares_experts(Matrix x, const Routing& routing, double* sums, int64_t* counts) {
  backend_.sum_squares_experts(x, routing, sums, counts);
}
void GradientTape::second_moments(Matrix x, Matrix y, float* sums) { backend_.second_moments(x, y, sums); }
void GradientTape::second_moments_experts(Matrix x, Matrix y, const Routing& routing, float* sums, int64_t* counts) {
  backend_.second_moments_experts(x, y, routing, sums, counts);
}

void GradientTape::mul_mats_transposed(std::span<const Product> products) { backend_.mul_mats_transposed(products); }
void GradientTape::scale_gradients(std::span<const ScaleGradient> gradients) { backend_.scale_gradients(gradients); }
void GradientTape::rms_norm_backward(Matrix x, const float* weight, float eps, Matrix dout, Matrix dx, float* dweight) {
  backend_.rms_norm_backward(x, weight, eps, dout, dx, dweight);
}
void GradientTape::softcap_backward(Matrix out, float cap, Matrix d) { backend_.softcap_backward(out, cap, d); }
void GradientTape::gated_backward(Activation activation, Matrix gate, Matrix up, Matrix d, Matrix dup) {
  backend_.gated_backward(activation, gate, up, d, dup);
}
void GradientTape::apply_gate_backward(Gate kind, Matrix x, Matrix gate, Matrix d, Matrix dgate) {
  backend_.apply_gate_backward(kind, x, gate, d, dgate);
}
void GradientTape::attentions_backward(std::span<const AttentionGradient> sequences) {
  backend_.attentions_backward(sequences);
}
void GradientTape::gather_backward(Matrix drows, const Routing& routing, Matrix dx) {
  backend_.gather_backward(drows, routing, dx);
}
void GradientTape::combine_backward(Matrix y, const Routing& routing, Matrix dout, Matrix dy, float* dweight) {
  backend_.combine_backward(y, routing, dout, dy, dweight);
}
void GradientTape::route_backward(Matrix logits, const RouteArgs& args, const Routing& routing, const float* dweight,
                                  Matrix dlogits) {
  backend_.route_backward(logits, args, routing, dweight, dlogits);
}
void GradientTape::sum_rows(Matrix x, float* sums) { backend_.sum_rows(x, sums); }
void GradientTape::sum_rows_experts(Matrix x, const Routing& routing, float* sums) {
  backend_.sum_rows_experts(x, routing, sums);
}
void GradientTape::row_sum_squares(Matrix x, float* sums) { backend_.row_sum_squares(x, sums); }
void GradientTape::divergence(Matrix logits, const TargetRows& target, float* loss) {
  backend_.divergence(logits, target, loss);
}
void GradientTape::adam(const AdamArgs& args, int64_t n, const float* gradients, float* m, float* v, float* values) {
  backend_.adam(args, n, gradients, m, v, values);
}
void GradientTape::write_scales(const Weight& weight, const float* scales) { backend_.write_scales(weight, scales); }

}  // namespace steelyard::compute
