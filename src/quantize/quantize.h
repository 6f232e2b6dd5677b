// The pipeline of a model's tensors: resolved → checked → header written → each tensor encoded in file order → checked
// again on request → renamed into place. A run that is killed on the way can be resumed (docs/quantize.md).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "formats/device_encoder.h"
#include "quantize/output.h"
#include "quantize/preflight.h"
#include "quantize/provenance.h"
#include "quantize/shards.h"

namespace steelyard::quantize {

/// Where the result of a job goes and how it is made.
struct QuantizeTarget {
  std::string path;  ///< of the result; shards get their names from it
  Provenance provenance = {};
  formats::Effort effort = formats::Effort::kNormal;
  formats::DeviceEncoder* device = nullptr;  ///< encodes what it can; null: the processor does it all
  Split split = {};
  uint64_t slab_bytes = uint64_t{1} << 30;  ///< memory for values and encoded bytes at most
  ResumePolicy resume_policy = ResumePolicy::kRefuse;
  bool verify = false;                       ///< read the result back from the disk before it gets its name
  const gguf::Metadata* metadata = nullptr;  ///< of the result, before provenance; null: the source's
  std::optional<Recorded> expected = {};     ///< of a result to be made again: Error where the new one differs
};

/// The progress of a run.
struct QuantizeProgress {
  size_t tensor = 0;  ///< at work, from 0; n_tensors at the end
  size_t n_tensors = 0;
  const gguf::TensorInfo* info = nullptr;  ///< of `tensor`; null at the end
  uint64_t resumed = 0;                    ///< weights that an interrupted run has done
  uint64_t done = 0;                       ///< weights, those included
  uint64_t total = 0;
};

/// Called often, from the thread of the caller, never within a parallel loop; first when nothing more can be refused
/// that is known before the work, and nothing is encoded yet.
using QuantizeCallback = std::function<void(const QuantizeProgress& progress)>;

struct QuantizeResult {
  std::vector<std::string> paths;            ///< of the files written
  uint64_t bytes = 0;                        ///< of all of them
  std::vector<plan::Finding> findings = {};  ///< what only the encoded weights show (lost_rows.h)
};

/// Writes the result. Throws before any byte is written when check(job) finds an error or the disk is too small. When
/// anything fails later, or the source changes on the way, nothing is left under the final names. A strict job also
/// fails at the end, when the encoded weights give a warning.
QuantizeResult quantize(const QuantizeJob& job, const QuantizeTarget& target, const QuantizeCallback& progress);

/// The metadata of the result: the source's (or `metadata`, if not null), without what no longer holds (shard numbers,
/// file type, an earlier provenance), plus the origin of the importance under the keys that llama.cpp uses.
gguf::Metadata result_metadata(const QuantizeJob& job, const gguf::Metadata* metadata = nullptr);

}  // namespace steelyard::quantize
