#include "calibrate/layer_copies.h"

#include <algorithm>
#include <utility>

#include "base/parallel.h"
#include "base/together.h"

namespace steelyard::calibrate {

LayerCopies::LayerCopies(const model::Model& model, int number, int64_t n_ctx,
                         std::span<compute::Backend* const> backends)
    : model_(model),
      number_(number),
      n_ctx_(n_ctx),
      originals_(std::max<size_t>(1, backends.size())),
      rounded_(originals_.size()) {
  on_each([&](size_t i) {
    compute::Backend& backend = backends.empty() ? model.backend(number) : *backends[i];
    originals_[i] = model.layer_on(backend, number, n_ctx, {}, &rounded_[i]);
  });
}

void LayerCopies::on_each(const std::function<void(size_t copy)>& body) const {
  run_together(size(), std::max(1, set_thread_count(0) / static_cast<int>(size())), body);
}

std::vector<model::Layer> LayerCopies::rounded() {
  std::vector<model::Layer> layers;
  for (size_t i = 0; i < size(); ++i) {
    layers.push_back(
        model_.layer_on(*originals_[i].backend, number_, n_ctx_, std::span(&originals_[i], 1), &rounded_[i]));
  }
  return layers;
}

// Not all tensors are matrices of a product.
void LayerCopies::replace(const plan::Decision& decision, const std::byte* bytes) {
  on_each([&](size_t i) {
    const auto found = rounded_[i].weights.find(decision.tensor->name);
    if (found == rounded_[i].weights.end()) return;
    compute::Weight weight = std::exchange(found->second, {});
    weight.format = &format(decision.type);
    weight.data = bytes;
    weight.memory = nullptr;
    found->second = originals_[i].backend->load(std::move(weight));
  });
}

}  // namespace steelyard::calibrate
