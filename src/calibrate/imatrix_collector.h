// The observer that makes an importance matrix: sums of squared inputs per column, per expert with counts, accumulated
// in F64 on the backend.
#pragma once

#include <map>
#include <string>

#include "compute/observer.h"
#include "imatrix/imatrix.h"

namespace steelyard {

class ImatrixCollector : public MatmulObserver {
 public:
  /// with_output: also collect for output.weight (a tied token_embd never).
  explicit ImatrixCollector(bool with_output) : with_output_(with_output) {}

  void dense(Backend& backend, const Weight& weight, int64_t slice, Matrix x) override;
  void experts(Backend& backend, const Weight& weight, Matrix x, const Routing& routing) override;

  /// Entries collected so far; datasets and chunk numbers are the caller's.
  Imatrix result(Backend& backend) const;

 private:
  struct Sums {
    int64_t n_in = 0;      // columns of one row of sums
    int64_t n_expert = 1;  // rows
    int64_t tokens = 0;    // dense: inputs seen
    Buffer sums;           // double [n_expert, n_in]
    Buffer counts;         // experts: int64 [n_expert]
  };

  bool wanted(const Weight& weight) const;
  Sums& sums_of(Backend& backend, const Weight& weight, bool experts);

  bool with_output_;
  std::map<std::string, Sums> sums_;
};

}  // namespace steelyard
