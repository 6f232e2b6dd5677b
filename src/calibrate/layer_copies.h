// A layer in two models, the one in the file and the one that was rounded up to here: bound on one backend, or on
// several that pass batches of the text through it at the same time. Used by CalibratedLayers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/model.h"
#include "plan/resolve.h"

namespace steelyard::calibrate {

class LayerCopies {
 public:
  /// For n_ctx positions, on each of the backends; without any, where the model is. All outlive it.
  LayerCopies(const model::Model& model, int number, int64_t n_ctx, std::span<compute::Backend* const> backends);

  size_t size() const { return originals_.size(); }
  /// The layer of the file, on each backend.
  std::span<const model::Layer> originals() const { return originals_; }
  /// The layer as it was rounded so far, on each backend.
  std::vector<model::Layer> rounded();
  /// Of the first backend.
  compute::Backend& backend() const { return *originals_.front().backend; }

  /// The tensor has been rounded. Its bytes outlive this.
  void replace(const plan::Decision& decision, const std::byte* bytes);
  /// Calls it for all copies at the same time. They share the processor's threads.
  void on_each(const std::function<void(size_t copy)>& body) const;

 private:
  const model::Model& model_;
  int number_;
  int64_t n_ctx_;
  std::vector<model::Layer> originals_;
  std::vector<model::LoadedTensors> rounded_;  // at first the file's; quantized ones replace them
};

}  // namespace steelyard::calibrate
