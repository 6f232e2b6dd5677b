// Layer-major iteration: the hidden states of a window of chunks are kept, and layer after layer passes over all of
// them. With all chunks in one window, each layer's weights are needed once, so a model may be far larger than memory.
// With windows of one batch this is token-major iteration. The result of a chunk does not depend on the window: the
// batches are the same, and so are their numbers.
//
// While layers compute, a thread binds the next ones, if there is room for both. So a device computes while weights are
// uploaded to it. Layers on different backends compute at the same time: while one has a batch, the layer before it has
// the next batch. Each is a stage with a thread, a buffer and caches of its own.
//
// Where a job has several ranks, layers are dealt out to them instead (layer_relay.h): every rank calls the same
// methods, and the leader has the hidden states.
//
// A chunk whose numbers become non-finite is broken. It leaves the sweep in the layer where that happens, and its
// hidden states stay as they were before that layer. Used by calibration and evaluation.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/scratch_file.h"
#include "model/model.h"
#include "schedule/device_contexts.h"
#include "schedule/layer_relay.h"
#include "schedule/pipeline.h"

namespace steelyard::schedule {

struct SweepOptions {
  int64_t n_batch = 2048;    ///< tokens that pass a layer together: whole chunks, or a part of one
  bool keep_layers = false;  ///< bind each layer once and keep it, instead of releasing it after its use
  uint64_t hidden_state_bytes = uint64_t(-1);  ///< of hidden states in memory; the others lie in a scratch file
  std::string scratch_folder = ".";            ///< where that file is made when it is needed
  /// Positions of a chunk where a text begins, ascending from 0: each begins in an empty context. Empty: at 0 only.
  std::function<std::span<const int64_t>(int64_t chunk)> starts = {};
  /// That layers are dealt out to, unless they are kept; null: all are computed here. Outlives the sweep.
  cluster::Ranks* ranks = nullptr;
};

class LayerSweep {
 public:
  /// The ids of a chunk [n_ctx].
  using ChunkIds = std::function<std::vector<int32_t>(int64_t chunk)>;
  /// The work on a batch: x [chunks.size() * n_ctx, hidden_width] holds the hidden states of whole chunks, to be
  /// changed in place or read. Returns the rows that must be finite, the same number for each chunk: x, or something
  /// computed from it.
  using BatchWork =
      std::function<compute::Matrix(std::span<const int64_t> chunks, compute::Matrix x, model::ForwardContext& ctx)>;

  /// The model must outlive the sweep.
  LayerSweep(const model::Model& model, int64_t n_ctx, ChunkIds ids, const SweepOptions& options = {});

  int64_t n_ctx() const { return n_ctx_; }
  /// Chunks that share a batch: a window is divided into batches of this many chunks.
  int64_t chunks_per_batch() const { return chunks_per_batch_; }

  /// Begins a window: embeds chunks [first, first + n).
  void start(int64_t first, int64_t n);

  /// Passes chunks [begin, end) of the window through a part of the layer under observation. Their hidden states stay
  /// unchanged. Several threads may do so at the same time, with a lane for each, from 0 on: see reserve_lanes().
  void watch(const model::Layer& layer, model::LayerPart part, int64_t begin, int64_t end,
             compute::MatmulObserver& observer, size_t lane = 0);
  /// Makes the buffers of so many lanes.
  void reserve_lanes(size_t n);
  /// Passes all chunks of the window through the layer, or through the mixer first and the FFN later.
  void advance(const model::Layer& layer, model::LayerPart part = model::LayerPart::kWhole,
               compute::MatmulObserver* observer = nullptr);
  /// The same with copies of one layer on different backends, to which batches are dealt in turn.
  void advance_dealt(std::span<const model::Layer> copies, model::LayerPart part);
  /// Of chunks [begin, end) only, where ranks share out the chunks themselves: the others' hidden states come
  /// by set_chunk(), and end_part() says that all have passed.
  void advance_chunks(const model::Layer& layer, model::LayerPart part, int64_t begin, int64_t end,
                      compute::MatmulObserver* observer = nullptr, size_t lane = 0);
  void end_part(model::LayerPart part);
  /// The hidden states of a chunk [values_of_chunk].
  void get_chunk(int64_t chunk, std::span<float> to) { load(chunk, to.data()); }
  void set_chunk(int64_t chunk, std::span<const float> from) { store(chunk, from.data()); }
  int64_t values_of_chunk() const { return n_ctx_ * width_; }
  /// Of the window.
  int64_t n_chunks() const { return n_; }
  /// Passes through layer i of the file, which is read ahead, and dropped from memory afterwards or kept.
  void run_layer(int i, compute::MatmulObserver* observer = nullptr) { run_layers(i, std::span(&observer, 1)); }
  /// Passes through layers first, first + 1, ... of different backends or ranks at the same time; each has its
  /// observer, or null.
  void run_layers(int first, std::span<compute::MatmulObserver* const> observers);
  /// How many layers from `first` on can be computed at the same time: 1 where layers are kept.
  int layers_together(int first) const;
  int next_layer() const { return next_layer_; }
  /// Other work on all hidden states of the window, which stay unchanged: after the last layer.
  void visit(const BatchWork& work, compute::MatmulObserver* observer = nullptr);

  /// Removes the chunk as if it broke in the next layer: for sweeps that run side by side.
  void leave_out(int64_t chunk);
  /// Chunks of the window that broke, each with the layer where that happened: -1 the embedding, n_layers() a visit. By
  /// layer, then by chunk. Where layers are dealt out, the leader knows all of them after settle().
  const std::vector<std::pair<int64_t, int>>& broken() const { return broken_; }
  /// Waits, in the leader, for what other ranks compute of the layers that were begun. visit() and save() do, too.
  void settle();

  /// The hidden states of the window, one chunk [n_ctx * hidden_width] after the other: to be written to a checkpoint,
  /// or restored from one instead of start(). next_layer: the layer to compute next.
  void save(const std::function<void(std::span<const float>)>& write);
  void restore(int64_t first, int64_t n, int next_layer, std::vector<std::pair<int64_t, int>> broken,
               const std::function<void(std::span<float>)>& read);

 private:
  size_t hidden_state_values() const { return static_cast<size_t>(n_ctx_ * width_); }
  void begin_window(int64_t first, int64_t n);
  void load(int64_t chunk, float* to);
  void store(int64_t chunk, const float* from);
  bool is_broken(int64_t chunk) const;
  void break_off(int64_t chunk, int layer);

  // For one layer at a time: of a pipeline, or a lane's.
  struct Stage {
    explicit Stage(float norm_eps) : contexts(norm_eps) {}
    struct Caches {
      compute::Backend* backend;
      model::AttentionConfig config;
      std::vector<model::KvLayer> layers;
    };
    std::vector<float> host;  // [chunks_per_batch, n_ctx, hidden_width]
    DeviceContexts contexts;  // with a batch's stream on one at a time
    std::vector<Caches> caches;
  };
  // Batches that pass through a stage.
  struct StageRun {
    size_t stage;
    compute::Backend& backend;
    compute::MatmulObserver* observer;
    int layer;                     // where chunks are said to break
    bool keep;                     // what comes out becomes the hidden states
    Pipeline* pipeline = nullptr;  // that the stage is of
  };
  Stage& stage(size_t i) { return *stages_[i]; }
  void reserve_buffers(Stage& stage) const;

  std::vector<model::KvLayer>& caches(Stage& stage, const model::Layer& layer, size_t n);
  std::span<const int64_t> starts(int64_t chunk) const;
  compute::Matrix forward(Stage& stage, const model::Layer& layer, model::LayerPart part,
                          std::span<const int64_t> chunks, compute::Matrix x, model::ForwardContext& ctx);
  std::vector<model::Layer> bind(int first, int n) const;
  std::vector<model::Layer> take_bound(int first, int n);
  void bind_ahead(int first, int n);
  void for_batches(const StageRun& run, int64_t begin, int64_t end, const BatchWork& work);
  void pass_batch(const StageRun& run, std::vector<int64_t> chunks, model::ForwardContext& ctx, const BatchWork& work);
  void advance_together(std::span<const model::Layer> layers, std::span<compute::MatmulObserver* const> observers);
  bool is_relayed() const { return cluster::are_several(options_.ranks) && !options_.keep_layers; }
  bool has_window() const { return !is_relayed() || options_.ranks->leads(); }
  void expect_batches();
  void relay(int first, int n, compute::MatmulObserver* observer);
  void take(const RelayedBatch& batch);
  RelayedBatch relayed(std::span<const int64_t> chunks, int first_layer);

  const model::Model& model_;
  int64_t n_ctx_, width_, n_batch_, chunks_per_batch_;
  ChunkIds ids_;
  SweepOptions options_;
  int64_t first_ = 0, n_ = 0;  // the window
  int next_layer_ = 0;
  int64_t first_stored_ = 0;          // of the chunks whose hidden states are here: of the window, or of a batch
  int64_t n_in_memory_ = 0;           // of these
  std::vector<float> hidden_states_;  // [n_in_memory, n_ctx, hidden_width]
  std::unique_ptr<ScratchFile> spilled_;
  std::vector<std::unique_ptr<Stage>> stages_;    // one, and more as layers go together
  std::vector<model::Layer> layers_;              // keep_layers
  std::future<std::vector<model::Layer>> ahead_;  // of layers to come, the first of which is
  int first_ahead_ = 0;
  std::vector<std::pair<int64_t, int>> broken_;
  std::vector<bool> is_broken_;             // by chunk of the window: each is asked about once per layer
  mutable std::mutex breaking_;             // stages do at the same time
  std::unique_ptr<Homecoming> homecoming_;  // the leader's, of the window
  int last_relayed_ = 0;                    // layers before this one have passed from rank to rank
};

}  // namespace steelyard::schedule
