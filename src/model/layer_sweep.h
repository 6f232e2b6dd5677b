// Layer-major iteration: the residual streams of a window of chunks are kept, and layer after layer passes over all of
// them. With all chunks in one window each layer's weights are needed once, so a model may be far larger than memory;
// with windows of one batch this is token-major iteration. What a chunk gives does not depend on the window: batches
// are formed alike, and each has the same numbers.
//
// While layers are at work, a thread binds those that come next, where there is room for both: a device computes while
// weights are on their way to it. Layers on different backends work at the same time: while one has a batch, the one
// before has the next. Each is a stage with a thread, a buffer and caches of its own.
//
// A chunk whose numbers stop being finite is broken: it leaves the sweep with the layer in which that happens, and its
// stream stays as it was before. Used by calibration and evaluation.
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
#include "model/pipeline.h"

namespace steelyard {

struct SweepOptions {
  int64_t n_batch = 2048;                ///< tokens that pass a layer together: whole chunks, or a part of one
  bool keep_layers = false;              ///< bind each layer once and keep it, instead of releasing it after its use
  uint64_t stream_bytes = uint64_t(-1);  ///< of streams in memory; the others lie in a scratch file
  std::string scratch_folder = ".";      ///< where that file is made when it is needed
};

class LayerSweep {
 public:
  /// The ids of a chunk [n_ctx].
  using ChunkIds = std::function<std::vector<int32_t>(int64_t chunk)>;
  /// What happens to a batch: x [chunks.size() * n_ctx, n_embd] are the streams of whole chunks, to be changed in place
  /// or read. Returns the rows, as many for each chunk, that must be finite: x or something computed from it.
  using BatchWork = std::function<Matrix(std::span<const int64_t> chunks, Matrix x, Pass& pass)>;

  /// The model outlives the sweep.
  LayerSweep(const Model& model, int64_t n_ctx, ChunkIds ids, const SweepOptions& options = {});

  int64_t n_ctx() const { return n_ctx_; }
  /// Chunks that share a batch; batches begin at every so manieth chunk of a window.
  int64_t chunks_per_batch() const { return n_together_; }

  /// Begins a window: embeds chunks [first, first + n).
  void start(int64_t first, int64_t n);

  /// Chunks [begin, end) of the window pass through a part of the layer and are watched; their streams stay as they
  /// were.
  void watch(const Layer& layer, LayerPart part, int64_t begin, int64_t end, MatmulObserver& observer);
  /// All chunks of the window pass through the layer for good, or through the mixer first and the FFN later.
  void advance(const Layer& layer, LayerPart part = LayerPart::kWhole, MatmulObserver* observer = nullptr);
  /// The same with layers of the file, which are read ahead and dropped from memory afterwards, or kept: layers first,
  /// first + 1, ... of different backends at the same time; for each its observer, or null.
  void run_layers(int first, std::span<MatmulObserver* const> observers);
  /// How many layers from `first` on can: 1 where layers are kept.
  int layers_together(int first) const;
  int next_layer() const { return next_layer_; }
  /// Something else with all streams of the window, which stay as they were: after the last layer.
  void visit(const BatchWork& work, MatmulObserver* observer = nullptr);

  /// The chunk leaves the sweep as if it broke in the layer to come: for sweeps that go side by side.
  void leave_out(int64_t chunk);
  /// Chunks of the window that broke, each with the layer where that happened: -1 the embedding, n_layers() a visit.
  const std::vector<std::pair<int64_t, int>>& broken() const { return broken_; }

  /// The streams of the window, one chunk [n_ctx * n_embd] after the other: to be written to a checkpoint, or to be
  /// restored from one in the place of start(). next_layer: the one that comes next.
  void save(const std::function<void(std::span<const float>)>& write);
  void restore(int64_t first, int64_t n, int next_layer, std::vector<std::pair<int64_t, int>> broken,
               const std::function<void(std::span<float>)>& read);

 private:
  size_t stream_values() const { return static_cast<size_t>(n_ctx_ * width_); }
  void begin_window(int64_t first, int64_t n);
  void load(int64_t chunk, float* to);
  void store(int64_t chunk, const float* from);
  bool is_broken(int64_t chunk) const;

  // Where one layer at a time works.
  struct Stage {
    explicit Stage(float norm_eps) : workplaces(norm_eps) {}
    struct Caches {
      Backend* backend;
      AttentionConfig config;
      std::vector<KvLayer> layers;
    };
    std::vector<float> host;  // [n_together, n_ctx, n_embd]
    Workplaces workplaces;    // with a batch's stream on one at a time
    std::vector<Caches> caches;
  };
  // Batches on their way through a stage.
  struct Passage {
    size_t stage;
    Backend& backend;
    MatmulObserver* observer;
    int layer;                     // where chunks are said to break
    bool keep;                     // what comes out becomes the streams
    Pipeline* pipeline = nullptr;  // that the stage is of
  };
  Stage& stage(size_t i) { return *stages_[i]; }
  void make_room(Stage& stage) const;

  std::vector<KvLayer>& caches(Stage& stage, const Layer& layer, size_t n);
  Matrix forward(Stage& stage, const Layer& layer, LayerPart part, std::span<const int64_t> chunks, Matrix x,
                 Pass& pass);
  std::vector<Layer> bind(int first, int n) const;
  std::vector<Layer> take_bound(int first, int n);
  void bind_ahead(int first);
  void for_batches(const Passage& passage, int64_t begin, int64_t end, const BatchWork& work);
  void pass_batch(const Passage& passage, std::vector<int64_t> chunks, Pass& pass, const BatchWork& work);
  void advance_together(std::span<const Layer> layers, std::span<MatmulObserver* const> observers);

  const Model& model_;
  int64_t n_ctx_, width_, n_batch_, n_together_;
  ChunkIds ids_;
  SweepOptions options_;
  int64_t first_ = 0, n_ = 0;  // the window
  int next_layer_ = 0;
  int64_t n_in_memory_ = 0;     // its first chunks
  std::vector<float> streams_;  // [n_in_memory, n_ctx, n_embd]
  std::unique_ptr<ScratchFile> spilled_;
  std::vector<std::unique_ptr<Stage>> stages_;  // one, and more as layers go together
  std::vector<Layer> layers_;                   // keep_layers
  std::future<std::vector<Layer>> ahead_;       // of layers to come, the first of which is
  int first_ahead_ = 0;
  std::vector<std::pair<int64_t, int>> broken_;
  mutable std::mutex breaking_;  // stages do at the same time
};

}  // namespace steelyard
