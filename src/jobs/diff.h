// What differs between two GGUF files, and whether one is still what quantize wrote. Parts of the job inspect.
//
// Progress of both: "tensors".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "jobs/progress.h"
#include "quantize/compare.h"

namespace steelyard::jobs {

/// How far the weights of `b` are from those of `a`.
struct WeightErrors {
  double relative_rmse = 0, max_abs = 0, cosine = 1;
  int64_t not_finite = 0;  ///< pairs that are left out

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("relative_rmse", self.relative_rmse);
    visit("max_abs", self.max_abs);
    visit("cosine", self.cosine);
    visit("not_finite", self.not_finite);
  }
};

/// A key whose value differs. Type and value as text, nothing in the file that lacks it.
struct KeyDiff {
  std::string key;
  std::optional<std::string> a, b;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("key", self.key);
    visit.if_any("a", self.a);
    visit.if_any("b", self.b);
  }
};

struct TensorSide {
  std::string type;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("type", self.type);
    visit("shape", self.shape);
    visit("bytes", self.bytes);
  }
};

/// A tensor of either file, whether it differs or not.
struct TensorDiff {
  std::string name;
  std::optional<TensorSide> a, b;
  bool same_bytes = false;            ///< type, shape and bytes are the same
  std::optional<WeightErrors> error;  ///< of weights of the same shape
  quantize::Comparison comparison{};  ///< what was compared; not in the report

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("name", self.name);
    visit.if_any("a", self.a);
    visit.if_any("b", self.b);
    visit("same_bytes", self.same_bytes);
    if (self.error) visit.group(*self.error);
  }
};

struct FileSize {
  std::string path;
  int64_t tensors = 0;
  uint64_t total_bytes = 0;
  double bits_per_weight = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("path", self.path);
    visit("tensors", self.tensors);
    visit("total_bytes", self.total_bytes);
    visit("bits_per_weight", self.bits_per_weight);
  }
};

struct ModelDiff {
  FileSize a, b;
  std::vector<KeyDiff> metadata;    ///< in the order of `a`, then what only `b` has
  std::vector<TensorDiff> tensors;  ///< likewise
  WeightErrors total;               ///< over all weights that both have

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("a", self.a);
    visit("b", self.b);
    visit("metadata", self.metadata);
    visit("tensors", self.tensors);
    visit("total", self.total);
  }
};

/// Error for a file that is no GGUF.
ModelDiff diff_models(const std::string& a, const std::string& b, const ProgressCallback& progress = {});

struct Verification {
  std::string path;
  int64_t tensors = 0;  ///< all of them have the bytes that their checksums stand for

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("path", self.path);
    visit("tensors", self.tensors);
  }
};

/// Error that names a tensor with other bytes, and for a file without checksums.
Verification verify_model(const std::string& path, const ProgressCallback& progress = {});

double bits_per_weight(const gguf::Source& reader);

}  // namespace steelyard::jobs
