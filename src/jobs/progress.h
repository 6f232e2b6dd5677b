// What a job says while it works, through one callback: how far it is, and parts of its result as they come.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "jobs/json.h"

namespace steelyard::jobs {

struct Progress {
  std::string_view stage = {};  ///< what goes on: "plan", "encode", "layers", ...; each job's header lists its own
  int64_t done = 0;             ///< of `total`
  int64_t total = 0;            ///< 0: the stage has no steps, or they are not known
  std::string_view unit = {};   ///< of both: "weights", "layers", "chunks", "tensors"
  Json data = nullptr;          ///< a part of the result, under the names of its JSON; null where there is none
  std::string item = {};        ///< what is at work: a tensor's name, "chunks 1 to 8"; printable, may be empty
};

/// Called on the thread that runs the job, never within a parallel loop. What it throws ends the job as an error does:
/// nothing half-written remains, and what a later run can go on from is on the disk.
using ProgressCallback = std::function<void(const Progress&)>;

}  // namespace steelyard::jobs
