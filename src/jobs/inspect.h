// What is in a GGUF or importance file, what differs between two, and whether one has the bytes of its checksums.
//
// Progress: "tensors" of --diff and --verify.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "imatrix/statistics.h"
#include "jobs/diff.h"
#include "jobs/json.h"
#include "jobs/progress.h"

namespace steelyard::jobs {

struct InspectOptions {
  std::vector<std::string> files;  ///< a model (the first of its shards) or an imatrix, or with diff two models
  bool diff = false;               ///< compare the two files
  bool verify = false;             ///< compare the bytes of a file that quantize wrote with its checksums
  int threads = 0;                 ///< of diff and verify; 0: all cores

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("files", self.files);
    visit("diff", self.diff);
    visit("verify", self.verify);
    visit("threads", self.threads);
  }
};

/// A key of a GGUF file, its value for people (jobs/metadata_view.h).
struct MetadataRow {
  std::string key, type;
  bool is_provenance = false;
  Json value;
};

struct TensorRow {
  std::string name;
  std::vector<int64_t> shape;
  std::string type;
  uint64_t offset = 0, bytes = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("name", self.name);
    visit("shape", self.shape);
    visit("type", self.type);
    visit("offset", self.offset);
    visit("bytes", self.bytes);
  }
};

/// What the tensors of one type take.
struct TypeSum {
  std::string type;
  int64_t n_elements = 0;
  uint64_t bytes = 0;
};

struct ModelContents {
  uint32_t version = 0;
  uint64_t alignment = 0;
  int64_t shards = 0, n_elements = 0;
  uint64_t total_bytes = 0;
  double bits_per_weight = 0;
  std::vector<MetadataRow> metadata;  ///< in the order of the file
  std::vector<TensorRow> tensors;     ///< likewise
  std::vector<TypeSum> types;         ///< by name; not in the report
};

struct ImatrixContents {
  std::vector<std::string> datasets;
  int64_t chunk_count = 0, chunk_size = 0;
  std::vector<imatrix::ImatrixStatistics> entries;
  std::vector<imatrix::BlockStatistics> blocks;
};

template <>
Json to_json(const ModelContents& of);
template <>
Json to_json(const ImatrixContents& of);

/// Error for a file that is no GGUF.
ModelContents inspect_model(const std::string& path);
/// Error for a file that is no imatrix in either layout.
ImatrixContents inspect_imatrix(const std::string& path);

using InspectResult = std::variant<ModelContents, ImatrixContents, ModelDiff, Verification>;

template <>
Json to_json(const InspectResult& of);

/// Error for another number of files than wanted, and as the functions above and those of jobs/diff.h.
InspectResult inspect(const InspectOptions& options, const ProgressCallback& progress = {});

}  // namespace steelyard::jobs
