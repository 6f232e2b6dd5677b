#include "calibrate/hessian_collector.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "calibrate/stage_times.h"

namespace steelyard::calibrate {
namespace {

float* floats(const compute::Buffer& buffer) { return reinterpret_cast<float*>(buffer.get()); }

// y - x, where y are the rows of the same tokens, for routed experts of the same experts.
std::vector<float> difference(const RecordedInput& y, const RecordedInput& x, int64_t n) {
  std::vector<float> result(x.rows->size());
  const auto subtract = [&](int64_t own, int64_t other) {
    for (int64_t i = 0; i < n; ++i) {
      result[static_cast<size_t>(own * n + i)] =
          (*y.rows)[static_cast<size_t>(other * n + i)] - (*x.rows)[static_cast<size_t>(own * n + i)];
    }
  };
  if (x.token.empty()) {
    for (int64_t r = 0; r < x.n_rows; ++r) subtract(r, r);
    return result;
  }
  for (size_t e = 0; e + 1 < x.row_begin.size(); ++e) {
    int32_t other = y.row_begin[e];
    for (int32_t r = x.row_begin[e]; r < x.row_begin[e + 1]; ++r) {
      const int32_t token = x.token[static_cast<size_t>(r)];
      while (other < y.row_begin[e + 1] && y.token[static_cast<size_t>(other)] < token) ++other;
      if (other < y.row_begin[e + 1] && y.token[static_cast<size_t>(other)] == token) subtract(r, other);
    }
  }
  return result;
}

RecordedInput recorded(compute::Backend& backend, compute::Matrix x) {
  return {x.rows, std::make_shared<const std::vector<float>>(host_copy(backend, x)), {}, {}};
}

compute::Matrix upload(compute::Backend& backend, const std::vector<float>& rows, int64_t n, compute::Buffer& memory) {
  memory = backend.allocate(rows.size() * sizeof(float));
  backend.upload(memory.get(), rows.data(), rows.size() * sizeof(float));
  return {floats(memory), static_cast<int64_t>(rows.size()) / n, n, n};
}

// The device that has an input's sums, for this thread alone; or the one that has the input.
class AtHome {
 public:
  AtHome(BackendPool* devices, size_t home, compute::Backend& backend) : backend_(&backend) {
    if (devices == nullptr) return;
    lease_.emplace(devices->take(home));
    backend_ = &**lease_;
  }
  compute::Backend& operator*() const { return *backend_; }
  compute::Backend* operator->() const { return backend_; }

 private:
  std::optional<BackendPool::Lease> lease_;
  compute::Backend* backend_;
};

}  // namespace

// From the moment when the batch may count at this place until it has. Adds the seconds of that.
class HessianCollector::Turn {
 public:
  Turn(HessianCollector& collector, const compute::Weight& weight, int64_t slice)
      : collector_(collector), place_(fmt::format("{}/{}", weight.name, slice)) {
    if (collector.order_ != nullptr) collector.order_->enter(place_, collector.batch_);
    watch_.lap();
  }
  Turn(const Turn&) = delete;
  ~Turn() {
    if (collector_.order_ != nullptr) collector_.order_->leave(place_, collector_.batch_);
    const std::lock_guard lock(collector_.sums_->mutex);
    collector_.sums_->seconds += watch_.lap();
  }

 private:
  HessianCollector& collector_;
  std::string place_;
  Stopwatch watch_;
};

HessianCollector::HessianCollector(std::set<std::string> weights, InputRecorder* originals, CollectionSpace space)
    : weights_(std::move(weights)), originals_(originals), space_(std::move(space)), sums_(std::make_shared<Sums>()) {}

HessianCollector HessianCollector::beside(InputRecorder* originals) const {
  HessianCollector other(weights_, originals, space_);
  other.sums_ = sums_;
  return other;
}

// The input to count through this weight, or null if another weight has counted the same one. Inputs of one layer have
// different addresses in scratch memory, so the same address within a layer is the same input. Which weights share an
// input is decided when a weight is first seen, which the first batch does.
HessianCollector::Input* HessianCollector::count_here(compute::Backend& backend, const compute::Weight& weight,
                                                      bool routed, compute::Matrix x) {
  const int64_t n_slices = weight.n_slices;
  const std::lock_guard lock(sums_->mutex);
  std::shared_ptr<Input>& input = sums_->inputs[weight.name];
  if (input == nullptr) {
    for (const auto& [name, other] : sums_->inputs) {
      if (other != nullptr && other->last == x.data && other->n == x.cols && other->n_slices == n_slices) input = other;
    }
  }
  if (input == nullptr) {
    input = std::make_shared<Input>();
    input->n = x.cols;
    input->n_slices = n_slices;
    input->owner = weight.name;
    input->last = x.data;
    if (n_slices == 1) {  // to who has the least; every rank sees the same calls
      sums_->load.resize(static_cast<size_t>(space_.n_ranks));
      const auto least = std::ranges::min_element(sums_->load);
      *least += static_cast<double>(x.cols) * static_cast<double>(x.cols + weight.n_out);
      input->owner_of_all = static_cast<int>(least - sums_->load.begin());
    }
    if (routed && space_.store_rows) {
      input->rows =
          std::make_shared<StoredRows>(x.cols, n_slices, originals_ != nullptr, space_.memory, backend, space_.devices);
      return input.get();
    }
    input->tokens.resize(static_cast<size_t>(n_slices));
    if (space_.devices != nullptr) input->home = sums_->n_homes++ % space_.devices->size();
    const AtHome home(space_.devices, input->home, backend);
    const auto zeros = [&](int64_t bytes) {
      compute::Buffer buffer = home->allocate(static_cast<size_t>(bytes));
      home->zero(buffer.get(), static_cast<size_t>(bytes));
      return buffer;
    };
    input->sums = zeros(n_slices * x.cols * x.cols * static_cast<int64_t>(sizeof(float)));
    if (originals_ != nullptr)
      input->cross_covariance = zeros(n_slices * x.cols * x.cols * static_cast<int64_t>(sizeof(float)));
    input->counts = zeros(n_slices * static_cast<int64_t>(sizeof(int64_t)));
  }
  if (input->owner != weight.name) return nullptr;
  if (batch_ == 0) input->last = x.data;
  return input.get();
}

void HessianCollector::dense(compute::Backend& backend, const compute::Weight& weight, int64_t slice,
                             compute::Matrix x) {
  if (!wants(weight)) return;
  const Turn turn(*this, weight, slice);
  Input* const input = count_here(backend, weight, /*routed=*/false, x);
  if (input == nullptr) return;
  input->tokens[static_cast<size_t>(slice)] += x.rows;
  if (!is_own(*input, slice)) return;
  RecordedInput own;
  std::optional<RecordedInput> original;
  if (originals_ != nullptr) original = originals_->next(weight.name, slice);
  const bool drifts =
      original && original->n_rows == x.rows;  // else a sequence broke: what is collected is thrown away
  if (drifts || space_.devices != nullptr) own = recorded(backend, x);
  const std::vector<float> drift = drifts ? difference(*original, own, x.cols) : std::vector<float>();

  const AtHome home(space_.devices, input->home, backend);
  compute::Buffer memory, drift_memory;
  if (space_.devices != nullptr) x = upload(*home, *own.rows, x.cols, memory);
  const int64_t at = slice * x.cols * x.cols;
  home->second_moments(x, x, floats(input->sums) + at);
  if (drifts) home->second_moments(upload(*home, drift, x.cols, drift_memory), x, floats(input->cross_covariance) + at);
}

void HessianCollector::experts(compute::Backend& backend, const compute::Weight& weight, compute::Matrix x,
                               const compute::Routing& routing) {
  if (!wants(weight)) return;
  const Turn turn(*this, weight, 0);
  Input* const input = count_here(backend, weight, /*routed=*/true, x);
  if (input == nullptr) return;
  if (input->rows != nullptr) return store(backend, weight, x, routing, *input->rows);
  STEELYARD_CHECK(space_.devices == nullptr);  // between them only rows can be passed
  // Of an owner's experts, which follow each other.
  int64_t begin = 0, end = 0;
  for (int64_t e = 0; e < input->n_slices; ++e) {
    if (!is_own(*input, e)) continue;
    if (begin == end) begin = e;
    end = e + 1;
  }
  compute::Routing share = routing;
  share.row_begin += begin;
  share.n_expert = end - begin;
  if (space_.n_ranks > 1) count_others(backend, routing, *input);
  if (share.n_expert == 0) return;  // more ranks than experts
  const int64_t at = begin * x.cols * x.cols;
  backend.second_moments_experts(x, x, share, floats(input->sums) + at,
                                 reinterpret_cast<int64_t*>(input->counts.get()) + begin);
  if (originals_ == nullptr) return;
  const auto original = originals_->next(weight.name, 0);
  if (!original || original->n_rows != x.rows) return;
  RecordedInput own = recorded(backend, x);
  copy_rows_of_experts(backend, routing, own);
  compute::Buffer memory;
  const compute::Buffer ignored = backend.allocate(static_cast<size_t>(routing.n_expert) * sizeof(int64_t));
  backend.second_moments_experts(upload(backend, difference(*original, own, x.cols), x.cols, memory), x, share,
                                 floats(input->cross_covariance) + at, reinterpret_cast<int64_t*>(ignored.get()));
}

// Inputs of experts that other ranks have.
void HessianCollector::count_others(compute::Backend& backend, const compute::Routing& routing, Input& input) const {
  RecordedInput rows;
  copy_rows_of_experts(backend, routing, rows);
  for (size_t e = 0; e < input.tokens.size(); ++e) {
    if (!is_own(input, static_cast<int64_t>(e))) input.tokens[e] += rows.row_begin[e + 1] - rows.row_begin[e];
  }
}

void HessianCollector::store(compute::Backend& backend, const compute::Weight& weight, compute::Matrix x,
                             const compute::Routing& routing, StoredRows& rows) {
  std::optional<RecordedInput> original;
  if (originals_ != nullptr) {
    original = originals_->next(weight.name, 0);
    if (!original || original->n_rows != x.rows) return;
  }
  const bool on_host = !backend.free_memory();
  RecordedInput own{x.rows, nullptr, {}, {}};
  if (!on_host) own = recorded(backend, x);
  copy_rows_of_experts(backend, routing, own);
  const auto row = [&](int64_t r) { return on_host ? x.row(r) : own.rows->data() + r * x.cols; };
  rows.add(routed_rows(x.cols, row, own, original ? &*original : nullptr));
}

std::map<std::string, std::shared_ptr<const SliceHessians>> HessianCollector::take(compute::Backend& backend) {
  Stopwatch watch;
  std::map<const Input*, std::shared_ptr<const SliceHessians>> made;
  std::map<std::string, std::shared_ptr<const SliceHessians>> result;
  for (const auto& [name, input] : sums_->inputs) {
    std::shared_ptr<const SliceHessians>& hessian = made[input.get()];
    if (hessian == nullptr && input->rows != nullptr) {
      input->rows->deal(space_.n_ranks, input->owner_of_all);
      hessian = std::move(input->rows);
    }
    if (hessian == nullptr) {
      const AtHome home(space_.devices, input->home, backend);
      const auto n_sums = static_cast<size_t>(input->n_slices * input->n * input->n);
      const auto download = [&](compute::Buffer& from) {
        std::vector<float> to(n_sums);
        home->download(to.data(), from.get(), to.size() * sizeof(float));
        from.reset();
        return to;
      };
      std::vector<float> sums = download(input->sums);
      std::vector<float> cross_covariance =
          originals_ != nullptr ? download(input->cross_covariance) : std::vector<float>();
      std::vector<int64_t> counts(input->tokens.size());
      home->download(counts.data(), input->counts.get(), counts.size() * sizeof(int64_t));
      for (size_t s = 0; s < counts.size(); ++s) counts[s] += input->tokens[s];
      const auto own =
          std::make_shared<HessianSums>(input->n, std::move(counts), std::move(sums), std::move(cross_covariance));
      own->deal(space_.n_ranks, input->owner_of_all);
      if (space_.memory != nullptr) own->keep_in(space_.memory);
      hessian = own;
    }
    result.emplace(name, hessian);
  }
  sums_->inputs.clear();
  sums_->seconds += watch.lap();
  return result;
}

}  // namespace steelyard::calibrate
