// A model file opened on backends, with its layers placed on them: what every job that computes begins with.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gguf/source.h"
#include "jobs/sweep_options.h"
#include "model/model.h"
#include "schedule/placement.h"

namespace steelyard::jobs {

/// Types of the KV cache by name.
struct CacheOptions {
  std::string cache_type_k = "f32";  ///< of keys, or latents: f32, f16, bf16, q8_0, q4_0
  std::string cache_type_v = "f32";  ///< of values

  /// Error for an unknown name.
  model::CacheTypes types() const;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("cache_type_k", self.cache_type_k);
    visit("cache_type_v", self.cache_type_v);
  }
};

/// Which layers are on which devices.
struct PlacementOptions {
  std::vector<double> tensor_split;  ///< numbers of layers in these proportions; empty: by memory
  int64_t gpu_layers = INT32_MAX;    ///< the last so many layers are on devices, the others on the host

  bool given() const { return !tensor_split.empty() || gpu_layers != INT32_MAX; }
  /// The placement on devices with this many free bytes each.
  schedule::PlacementRequest request(std::vector<uint64_t> free_bytes) const {
    return {std::move(free_bytes), tensor_split, gpu_layers};
  }

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("tensor_split", self.tensor_split);
    visit("gpu_layers", self.gpu_layers);
  }
};

struct ModelOptions {
  std::string model;                           ///< GGUF file, or the first of its shards; or a folder of Hugging Face
  std::vector<std::string> backend = {"cpu"};  ///< by name; several hold layers in turn
  std::string precision = "exact";             ///< of activations: exact or fast
  int threads = 0;                             ///< 0: all cores
  PlacementOptions placement;
  CacheOptions cache;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("model", self.model);
    visit("backend", self.backend);
    visit("precision", self.precision);
    visit("threads", self.threads);
    visit.group(self.placement);
    visit.group(self.cache);
  }
};

class OpenModel {
 public:
  /// Sets the number of threads, opens file and backends. n_context: what memory is shared out for where there are
  /// several devices; 0: not known. sweep: how a text goes through the model, null for none; where that is layer by
  /// layer, devices take layers by turns.
  explicit OpenModel(const ModelOptions& options, int64_t n_context = 0, const SweepChoice* sweep = nullptr);

  const gguf::Source& reader() const { return *reader_; }
  const model::Model& model() const { return *model_; }
  /// Names of the backends that hold layers.
  std::vector<std::string> backend_names() const;
  /// What of the options changes results in their last digits. Devices of a kind compute alike, whichever they are.
  std::string settings() const;

 private:
  std::vector<compute::Backend*> place(int64_t n_context, const SweepChoice* sweep);

  ModelOptions options_;
  std::unique_ptr<const gguf::Source> reader_;
  std::vector<std::unique_ptr<compute::Backend>> backends_;
  std::optional<model::Model> model_;
};

}  // namespace steelyard::jobs
