#include "calibrate/stored_rows.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/parallel.h"

namespace steelyard::calibrate {

// The rows of a token follow each other in expert order. The one before is all that a row is compared with: a token has
// either one row for all of its experts, or one for each.
RoutedRows routed_rows(int64_t n, const std::function<const float*(int64_t r)>& x, const RecordedInput& routing,
                       const RecordedInput* original) {
  struct Row {
    int64_t x;       // that it is a copy of
    int32_t y = -1;  // the original's; -1: none
  };
  const auto n_slots = static_cast<int64_t>(routing.token.size());
  const auto y = [&](int32_t r) { return original->rows->data() + r * n; };
  const auto same = [&](const float* a, const float* b) {
    return std::memcmp(a, b, static_cast<size_t>(n) * sizeof(float)) == 0;
  };
  RoutedRows result{0,
                    routing.row_begin,
                    std::vector<int32_t>(static_cast<size_t>(n_slots)),
                    std::vector<bool>(static_cast<size_t>(n_slots)),
                    {},
                    {}};
  std::vector<Row> rows;
  std::vector<int32_t> last;  // of each token: its last row
  for (const int32_t token : routing.token) last.resize(std::max(last.size(), static_cast<size_t>(token) + 1), -1);
  for (size_t e = 0; e + 1 < routing.row_begin.size(); ++e) {
    int32_t other = original != nullptr ? original->row_begin[e] : 0;
    for (int32_t r = routing.row_begin[e]; r < routing.row_begin[e + 1]; ++r) {
      const int32_t token = routing.token[static_cast<size_t>(r)];
      int32_t match = -1;
      if (original != nullptr) {
        const int32_t end = original->row_begin[e + 1];
        while (other < end && original->token[static_cast<size_t>(other)] < token) ++other;
        if (other < end && original->token[static_cast<size_t>(other)] == token) match = other;
      }
      int32_t& row = last[static_cast<size_t>(token)];
      const bool known =
          row >= 0 && same(x(r), x(rows[static_cast<size_t>(row)].x)) &&
          (match < 0 || rows[static_cast<size_t>(row)].y < 0 || same(y(match), y(rows[static_cast<size_t>(row)].y)));
      if (!known) {
        row = static_cast<int32_t>(rows.size());
        rows.push_back({r});
      }
      if (match >= 0) rows[static_cast<size_t>(row)].y = match;
      result.row[static_cast<size_t>(r)] = row;
      result.has_drift[static_cast<size_t>(r)] = match >= 0;
    }
  }
  result.n_rows = std::ssize(rows);
  result.x.resize(rows.size() * static_cast<size_t>(n));
  if (original != nullptr) result.drift.resize(result.x.size());
  parallel_for(result.n_rows, 16, [&](int64_t i) {
    const Row& row = rows[static_cast<size_t>(i)];
    const float* const from = x(row.x);
    std::copy_n(from, n, result.x.data() + i * n);
    if (row.y < 0) return;
    const float* const before = y(row.y);
    float* const drift = result.drift.data() + i * n;
    for (int64_t c = 0; c < n; ++c) drift[c] = before[c] - from[c];
  });
  return result;
}

StoredRows::StoredRows(int64_t n, int64_t n_experts, bool with_drift, std::shared_ptr<SpillSpace> space,
                       compute::Backend& host, BackendPool* devices)
    : SliceHessians(n, std::vector<int64_t>(static_cast<size_t>(n_experts))),
      with_drift_(with_drift),
      space_(std::move(space)),
      host_(host),
      devices_(devices),
      kept_(static_cast<size_t>(n_experts)) {}

StoredRows::~StoredRows() {
  uint64_t kept = 0;
  for (const SliceSums& sums : kept_) kept += sums.hessian.size_bytes() + sums.cross_covariance.size_bytes();
  space_->give_back(reserved_ + kept);
}

void StoredRows::add(RoutedRows rows) {
  for (int64_t e = 0; e < n_slices(); ++e) {
    add_inputs(e, rows.row_begin[static_cast<size_t>(e + 1)] - rows.row_begin[static_cast<size_t>(e)]);
  }
  Batch& batch = batches_.emplace_back(Batch{std::move(rows)});
  const uint64_t bytes = (batch.rows.x.size() + batch.rows.drift.size()) * sizeof(float);
  if (space_->reserve(bytes)) {
    reserved_ += bytes;
    return;
  }
  batch.rows.x.insert(batch.rows.x.end(), batch.rows.drift.begin(), batch.rows.drift.end());
  batch.spilled = space_->spill(batch.rows.x);
  batch.rows.x = {};
  batch.rows.drift = {};
}

// Rows [row, row + n_rows) of x, or of drift.
void StoredRows::copy_rows(const Batch& batch, bool drift, int64_t row, int64_t n_rows, float* to) const {
  const auto n_values = static_cast<size_t>(n_rows * n());
  if (!batch.spilled) {
    return void(std::copy_n((drift ? batch.rows.drift : batch.rows.x).data() + row * n(), n_values, to));
  }
  const auto first = static_cast<uint64_t>(((drift ? batch.rows.n_rows : 0) + row) * n());
  space_->read(*batch.spilled + first * sizeof(float), std::span(to, n_values));
}

// Those of slots [begin, end), one after the other; neighbours that lie together are read together.
void StoredRows::gather(const Batch& batch, bool drift, int64_t begin, int64_t end, float* to) const {
  const auto skips = [&](int64_t slot) { return drift && !batch.rows.has_drift[static_cast<size_t>(slot)]; };
  const auto row = [&](int64_t slot) { return batch.rows.row[static_cast<size_t>(slot)]; };
  for (int64_t slot = begin; slot < end;) {
    int64_t next = slot + 1;
    while (next < end && skips(next) == skips(slot) && (skips(slot) || row(next) == row(slot) + next - slot)) ++next;
    float* const out = to + (slot - begin) * n();
    if (skips(slot)) {
      std::fill_n(out, (next - slot) * n(), 0.0f);
    } else {
      copy_rows(batch, drift, row(slot), next - slot, out);
    }
    slot = next;
  }
}

// On the host operations work where the rows were gathered, and may run in several threads: second_moments has no
// state.
SliceSums StoredRows::make(int64_t slice) const {
  if (devices_ != nullptr) return make(slice, *devices_->take(), false);
  STEELYARD_CHECK(!host_.free_memory());
  return make(slice, host_, true);
}

SliceSums StoredRows::make(int64_t slice, compute::Backend& backend, bool on_host) const {
  const auto size = static_cast<size_t>(n() * n());
  const size_t bytes = (with_drift_ ? 2 : 1) * size * sizeof(float);
  const compute::Buffer sums = backend.allocate(bytes);
  backend.zero(sums.get(), bytes);
  const auto floats = [](const compute::Buffer& buffer) { return reinterpret_cast<float*>(buffer.get()); };

  const auto begin = [&](const Batch& batch) { return batch.rows.row_begin[static_cast<size_t>(slice)]; };
  const auto end = [&](const Batch& batch) { return batch.rows.row_begin[static_cast<size_t>(slice) + 1]; };
  int64_t most = 0;
  for (const Batch& batch : batches_) most = std::max<int64_t>(most, end(batch) - begin(batch));
  const auto n_values = static_cast<size_t>(most * n());
  const compute::Buffer x = backend.allocate(n_values * sizeof(float)),
                        drift = backend.allocate(with_drift_ ? n_values * sizeof(float) : 0);
  std::vector<float> host(on_host ? 0 : n_values);
  const auto rows = [&](const Batch& batch, bool of_drift, const compute::Buffer& memory) {
    const int64_t n_rows = end(batch) - begin(batch);
    gather(batch, of_drift, begin(batch), end(batch), on_host ? floats(memory) : host.data());
    if (!on_host) backend.upload(memory.get(), host.data(), static_cast<size_t>(n_rows * n()) * sizeof(float));
    return compute::Matrix{floats(memory), n_rows, n(), n()};
  };
  for (const Batch& batch : batches_) {
    if (begin(batch) == end(batch)) continue;
    const compute::Matrix inputs = rows(batch, false, x);
    backend.second_moments(inputs, inputs, floats(sums));
    if (with_drift_) backend.second_moments(rows(batch, true, drift), inputs, floats(sums) + size);
  }
  compute::Buffer result = sums;
  if (!on_host) {
    result = compute::Buffer(new std::byte[bytes], std::default_delete<std::byte[]>());
    backend.download(result.get(), sums.get(), bytes);
  }
  const std::span<const float> all(floats(result), bytes / sizeof(float));
  return {all.first(size), all.subspan(size), result};
}

SliceSums StoredRows::of_slice(int64_t slice) const {
  SliceSums& kept = kept_[static_cast<size_t>(slice)];
  {
    const std::lock_guard lock(mutex_);
    if (kept.memory != nullptr) return kept;
  }
  SliceSums made = make(slice);
  const std::lock_guard lock(mutex_);
  const uint64_t bytes = made.hessian.size_bytes() + made.cross_covariance.size_bytes();
  if (kept.memory == nullptr && space_->reserve(bytes)) kept = made;
  return made;
}

}  // namespace steelyard::calibrate
