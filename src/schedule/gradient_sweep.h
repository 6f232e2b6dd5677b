// Gradients of a loss on logits, for a model whose activations do not fit into memory all at once. The text passes
// forward layer by layer, and only the hidden states between layers are kept. On the way back each layer is computed
// again from its input, and this time a tape records it.
//
// The order of iteration is the caller's, as with LayerSweep: a window of one batch, with layers that are kept, is
// token-major (tuning, thousands of steps of a model in memory); a window of all chunks is layer-major, and needs one
// layer's weights at a time, each three times.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/scratch_file.h"
#include "compute/gradient_tape.h"
#include "schedule/device_contexts.h"
#include "schedule/layer_sweep.h"

namespace steelyard::schedule {

class GradientSweep {
 public:
  using ChunkIds = LayerSweep::ChunkIds;
  /// The loss of rows [first, first + logits.rows) of a chunk's scored positions: sets `logits` [rows, n_vocab] to its
  /// gradient. Called for some rows at a time.
  using Loss = std::function<void(int64_t chunk, int64_t first, compute::Matrix logits, compute::Backend& backend)>;
  /// Positions [first, first + n) of each chunk have logits.
  struct Scored {
    int64_t first, n;
  };

  /// `model` is bound to `tape`, and both outlive the sweep. `loaded`: where layers take their weights from, or null.
  /// Error as require_backward.
  GradientSweep(const model::Model& model, compute::GradientTape& tape, int64_t n_ctx, Scored scored, ChunkIds ids,
                const SweepOptions& options = {}, model::LoadedTensors* loaded = nullptr);

  /// Error naming the first layer without a backward pass.
  static void require_backward(const std::string& path, const model::ModelConfig& config);

  /// Adds the gradients of the loss over these chunks to what `tape` collects. `observer` may be null.
  void run(std::span<const int64_t> chunks, const Loss& loss, compute::GradientObserver* observer = nullptr);
  /// The same without the way back: `loss` only reads.
  void evaluate(std::span<const int64_t> chunks, const Loss& loss);

 private:
  size_t chunk_values() const { return static_cast<size_t>(n_ctx_ * width_); }
  int64_t rows_at_once() const;
  void load(size_t state, float* to);
  void store(size_t state, const float* from);
  // Hidden states [n, n_ctx, hidden_width] of `count` chunks from `state` on, to the device and back.
  void to_device(size_t state, size_t count, compute::Matrix x);
  void from_device(compute::Matrix x, size_t state, size_t count);
  const model::Layer& layer(int i);
  void forward(const model::Layer& layer, std::span<const int64_t> chunks, compute::Matrix x);
  void pass_forward(std::span<const int64_t> chunks, bool keep);
  void pass_head(std::span<const int64_t> chunks, const Loss& loss, bool back, compute::GradientObserver* observer);
  void pass_back(std::span<const int64_t> chunks, compute::GradientObserver* observer);
  template <typename Work>
  void for_batches(std::span<const int64_t> chunks, const Work& work);

  const model::Model& model_;
  compute::GradientTape& tape_;
  int64_t n_ctx_, width_, chunks_per_batch_;
  Scored scored_;
  ChunkIds ids_;
  SweepOptions options_;
  model::LoadedTensors* loaded_;
  DeviceContexts contexts_;
  std::vector<model::Layer> kept_;     // keep_layers
  std::unique_ptr<model::Layer> now_;  // else
  int now_number_ = 0;                 // of it
  struct Caches {
    model::AttentionConfig config;
    std::vector<model::KvLayer> of_chunks;
  };
  std::vector<Caches> caches_;
  // Hidden states by boundary, then chunk: the input of layer i of the window's chunk c is at i * n + c. The last
  // boundary's place has the gradient on the way back.
  std::vector<float> in_memory_;
  std::unique_ptr<ScratchFile> spilled_;
  size_t n_in_memory_ = 0;  // states
  std::vector<float> host_;
};

}  // namespace steelyard::schedule
