// What a search has measured so far, in a file from which an interrupted search goes on, and other sizes begin: what
// tensors lose does not depend on the size.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/resume_file.h"
#include "formats/format.h"
#include "jobs/json.h"

namespace steelyard::jobs {

/// What an error at a tensor's outputs does (calibrate/output_gradients.h).
struct SavedCurvature {
  std::string tensor;
  std::vector<double> by_slice;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("tensor", self.tensor);
    visit("by_slice", self.by_slice);
  }
};

/// One tensor in one type.
struct SavedLoss {
  std::string type;
  uint64_t bytes = 0;
  double loss = 0;  ///< nats per position

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("type", self.type);
    visit("bytes", self.bytes);
    visit("loss", self.loss);
  }
};

struct SavedTensor {
  std::string tensor;
  std::vector<SavedLoss> types;
  std::optional<double> probed;  ///< of a tensor of a layer: what it loses in the low type, measured

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("tensor", self.tensor);
    visit("types", self.types);
    visit.if_any("probed", self.probed);
  }
};

/// A plan that was quantized by and measured: by held-out chunk.
struct SavedFile {
  std::string plan;  ///< its text
  uint64_t header_bytes = 0;
  std::vector<double> divergence, same_top;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("plan", self.plan);
    visit("header_bytes", self.header_bytes);
    visit("divergence", self.divergence);
    visit("same_top", self.same_top);
  }
};

class SearchState {
 public:
  /// path: empty to keep nothing. Goes on from the file where it exists; Error where it is damaged or of a search with
  /// another identity.
  SearchState(const std::string& path, std::string identity);

  bool is_kept() const { return file_.is_kept(); }
  /// Durable on return.
  void save();

  std::string plan;                        ///< that tensors were calibrated by; empty: none was
  bool heard = false;                      ///< all of that plan
  std::vector<SavedCurvature> curvatures;  ///< empty: not computed yet
  std::vector<SavedTensor> in_layers, outside;
  std::vector<SavedFile> files;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("plan", self.plan);
    visit("heard", self.heard);
    visit("curvatures", self.curvatures);
    visit("in_layers", self.in_layers);
    visit("outside", self.outside);
    visit("files", self.files);
  }

 private:
  ResumeFile file_;
};

/// The element of that name; null where there is none.
SavedTensor* find(std::vector<SavedTensor>& tensors, const std::string& name);

}  // namespace steelyard::jobs
