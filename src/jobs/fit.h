// What a model needs in the memory of devices, and the largest context they have room for. A header is enough, and a
// plan says what would be needed once the model is quantized.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/device_options.h"
#include "jobs/plan.h"

namespace steelyard::jobs {

struct FitOptions {
  std::string model;
  int64_t ctx_size = 0;  ///< 0: the most that fit
  DeviceOptions devices;
  PlanSource source;    ///< the types that tensors would have; none: those of the file
  std::string imatrix;  ///< of a plan: importance file, decide as if it were used; empty: none

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("model", self.model);
    visit("ctx_size", self.ctx_size);
    visit.group(self.devices);
    visit.group(self.source);
    visit("imatrix", self.imatrix);
  }
};

/// One device, or the host. Bytes, but for the layers.
struct FitDevice {
  int64_t first_layer = 0, n_layers = 0;
  uint64_t weights = 0, cache = 0, rope = 0, activations = 0, needed = 0;
  uint64_t free = 0;  ///< less the reserve; 0 for the host, which is not asked

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("first_layer", self.first_layer);
    visit("n_layers", self.n_layers);
    visit("weights", self.weights);
    visit("cache", self.cache);
    visit("rope", self.rope);
    visit("activations", self.activations);
    visit("needed", self.needed);
    visit("free", self.free);
  }
};

struct FitResult {
  std::string model, architecture;
  std::string plan;  ///< its file or name; empty: the tensors are as in the file
  int64_t n_layers = 0, context = 0, model_context = 0, sequences = 0, batch = 0;
  std::string cache_type_k, cache_type_v;
  uint64_t reserve = 0;
  std::vector<FitDevice> devices;
  FitDevice host;
  uint64_t prediction = 0;  ///< bytes in blocks that predict further tokens, which are not loaded
  bool fits = false;
  int64_t largest_context = 0;  ///< that fits; 0: none does
  int64_t most_layers = 0;      ///< on the devices, with the context asked for

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("model", self.model);
    visit("architecture", self.architecture);
    visit("plan", self.plan);
    visit("n_layers", self.n_layers);
    visit("context", self.context);
    visit("model_context", self.model_context);
    visit("sequences", self.sequences);
    visit("batch", self.batch);
    visit("cache_type_k", self.cache_type_k);
    visit("cache_type_v", self.cache_type_v);
    visit("reserve", self.reserve);
    visit("devices", self.devices);
    visit("host", self.host);
    visit("prediction", self.prediction);
    visit("fits", self.fits);
    visit("largest_context", self.largest_context);
    visit("most_layers", self.most_layers);
  }
};

/// Error for options out of range and a file that is no model.
FitResult fit(const FitOptions& options);

}  // namespace steelyard::jobs
