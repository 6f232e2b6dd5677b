// Devices that a model shall be run on some day: how much memory they have, and what must lie in it besides weights.
// Nobody opens them. For `fit`, and for searches that fill them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/model_options.h"
#include "model/config.h"
#include "schedule/memory_plan.h"

namespace steelyard::jobs {

struct DeviceOptions {
  std::string vram;                 ///< memory of the devices: "24GiB", "24GiBx6", "24GiBx2,16GiB"
  uint64_t reserve = 512ull << 20;  ///< bytes of each device that driver and libraries take
  int64_t sequences = 1;            ///< texts at a time, each with so much context
  int64_t batch_size = 512;         ///< tokens of a prompt that go through a layer at once
  PlacementOptions placement;
  CacheOptions cache;

  /// Bytes of each device, less the reserve. Error for a text that is no list of sizes, and for a size without a unit.
  std::vector<uint64_t> free_bytes() const;
  /// Error for numbers out of range, a cache that the model cannot have, and a context beyond the model's own.
  schedule::MemoryRequest memory_request(const model::ModelConfig& config, int64_t n_context) const;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("vram", self.vram);
    visit.bytes("reserve", self.reserve);
    visit("sequences", self.sequences);
    visit("batch_size", self.batch_size);
    visit.group(self.placement);
    visit.group(self.cache);
  }
};

}  // namespace steelyard::jobs
