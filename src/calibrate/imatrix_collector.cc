#include "calibrate/imatrix_collector.h"

#include <algorithm>

namespace steelyard {

bool ImatrixCollector::wanted(const Weight& weight) const {
  return weight.name.starts_with("blk.") || (with_output_ && weight.name == "output.weight");
}

// The heads of a per-head tensor share one row of n_in * n_slices sums and one count: every token passes all of them.
ImatrixCollector::Sums& ImatrixCollector::sums_of(Backend& backend, const Weight& weight, bool experts) {
  Sums& sums = sums_[weight.name];
  if (sums.sums == nullptr) {
    sums.n_in = experts ? weight.n_in : weight.n_in * weight.n_slices;
    sums.n_expert = experts ? weight.n_slices : 1;
    const auto zeros = [&](size_t bytes) {
      Buffer buffer = backend.allocate(bytes);
      backend.zero(buffer.get(), bytes);
      return buffer;
    };
    sums.sums = zeros(static_cast<size_t>(sums.n_in * sums.n_expert) * sizeof(double));
    if (experts) sums.counts = zeros(static_cast<size_t>(sums.n_expert) * sizeof(int64_t));
  }
  return sums;
}

void ImatrixCollector::dense(Backend& backend, const Weight& weight, int64_t slice, Matrix x) {
  if (!wanted(weight)) return;
  Sums& sums = sums_of(backend, weight, /*experts=*/false);
  backend.sum_squares(x, reinterpret_cast<double*>(sums.sums.get()) + slice * weight.n_in);
  if (slice == 0) sums.tokens += x.rows;
}

void ImatrixCollector::experts(Backend& backend, const Weight& weight, Matrix x, const Routing& routing) {
  if (!wanted(weight)) return;
  Sums& sums = sums_of(backend, weight, /*experts=*/true);
  backend.sum_squares_experts(x, routing, reinterpret_cast<double*>(sums.sums.get()),
                              reinterpret_cast<int64_t*>(sums.counts.get()));
}

Imatrix ImatrixCollector::result(Backend& backend) const {
  Imatrix imatrix;
  for (const auto& [name, sums] : sums_) {
    ImatrixEntry entry{sums.n_in, sums.n_expert, {}, {}};
    entry.in_sum2.resize(static_cast<size_t>(sums.n_in * sums.n_expert));
    backend.download(entry.in_sum2.data(), sums.sums.get(), entry.in_sum2.size() * sizeof(double));
    entry.counts.assign(static_cast<size_t>(sums.n_expert), sums.tokens);
    if (sums.counts != nullptr)
      backend.download(entry.counts.data(), sums.counts.get(), entry.counts.size() * sizeof(int64_t));
    imatrix.entries.emplace(name, std::move(entry));
  }
  return imatrix;
}

}  // namespace steelyard
