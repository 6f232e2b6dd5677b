#include "calibrate/batch_record.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/byte_writer.h"
#include "calibrate/input_recorder.h"

namespace steelyard::calibrate {
namespace {

template <typename T>
void write_values(ByteWriter<std::string>& out, const std::vector<T>& values) {
  out.number<uint64_t>(values.size());
  out.values(std::span<const T>(values));
}

template <typename T>
std::vector<T> read_values(ByteReader& in) {
  return in.values<T>(in.number<uint64_t>());
}

// x in expert order, without copies that follow each other for a token.
void keep_different(const std::vector<float>& x, int64_t n, std::span<const int32_t> tokens, std::vector<float>& rows,
                    std::vector<int32_t>& row) {
  std::vector<int32_t> last;  // of each token: its last row
  for (const int32_t token : tokens) last.resize(std::max(last.size(), static_cast<size_t>(token) + 1), -1);
  const auto bytes = static_cast<size_t>(n) * sizeof(float);
  for (size_t slot = 0; slot < tokens.size(); ++slot) {
    const float* const from = x.data() + static_cast<int64_t>(slot) * n;
    int32_t& known = last[static_cast<size_t>(tokens[slot])];
    if (known < 0 || std::memcmp(from, rows.data() + known * n, bytes) != 0) {
      known = static_cast<int32_t>(std::ssize(rows) / n);
      rows.insert(rows.end(), from, from + n);
    }
    row.push_back(known);
  }
}

}  // namespace

// The same address is the same input as long as it holds the same values: a chunk may pass in parts, which reuse
// memory.
void BatchRecord::add(const compute::Weight& weight, int64_t slice, Input input) {
  size_t at = inputs_.size();
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const Input& other = inputs_[i];
    if (other.data == input.data && other.n_cols == input.n_cols && other.row == input.row &&
        other.token == input.token && other.row_begin == input.row_begin && other.rows.size() == input.rows.size() &&
        std::memcmp(other.rows.data(), input.rows.data(), input.rows.size() * sizeof(float)) == 0)
      at = i;
  }
  if (at == inputs_.size()) inputs_.push_back(std::move(input));
  calls_.push_back({weight.name, weight.n_out, weight.n_slices, slice, at});
}

void BatchRecord::dense(compute::Backend& backend, const compute::Weight& weight, int64_t slice, compute::Matrix x) {
  if (!weights_.contains(weight.name)) return;
  add(weight, slice, {x.data, x.cols, host_copy(backend, x), {}, {}, {}});
}

void BatchRecord::experts(compute::Backend& backend, const compute::Weight& weight, compute::Matrix x,
                          const compute::Routing& routing) {
  if (!weights_.contains(weight.name)) return;
  RecordedInput slots;
  copy_rows_of_experts(backend, routing, slots);
  Input input{x.data, x.cols, {}, {}, std::move(slots.token), std::move(slots.row_begin)};
  keep_different(host_copy(backend, x), x.cols, input.token, input.rows, input.row);
  add(weight, 0, std::move(input));
}

void BatchRecord::end_batch(compute::Backend& /*backend*/, bool counts) {
  if (counts) return;
  inputs_.clear();
  calls_.clear();
}

void BatchRecord::write(std::string& message) {
  ByteWriter out(message);
  out.number<uint64_t>(inputs_.size());
  for (const Input& input : inputs_) {
    out.number<int64_t>(input.n_cols);
    write_values(out, input.rows);
    write_values(out, input.row);
    write_values(out, input.token);
    write_values(out, input.row_begin);
  }
  out.number<uint64_t>(calls_.size());
  for (const Call& call : calls_) {
    out.string<uint64_t>(call.weight);
    for (const int64_t value : {call.n_out, call.n_slices, call.slice, static_cast<int64_t>(call.input)})
      out.number<int64_t>(value);
  }
  inputs_.clear();
  calls_.clear();
}

void show_record(ByteReader& message, compute::Backend& backend, compute::MatmulObserver& observer) {
  struct Shown {
    compute::Buffer rows, tokens, row_begin;
    compute::Matrix x;
    compute::Routing routing;
  };
  const auto upload = [&](const auto& values) {
    const size_t bytes = values.size() * sizeof(values[0]);
    compute::Buffer memory = backend.allocate(bytes);
    backend.upload(memory.get(), values.data(), bytes);
    return memory;
  };
  std::vector<Shown> inputs(message.number<uint64_t>());
  for (Shown& shown : inputs) {
    const auto n_cols = message.number<int64_t>(1);
    std::vector<float> rows = read_values<float>(message);
    const auto row = read_values<int32_t>(message), token = read_values<int32_t>(message),
               row_begin = read_values<int32_t>(message);
    if (!token.empty()) {
      std::vector<float> slots(row.size() * static_cast<size_t>(n_cols));
      for (size_t slot = 0; slot < row.size(); ++slot)
        std::copy_n(rows.data() + row[slot] * n_cols, n_cols, slots.data() + static_cast<int64_t>(slot) * n_cols);
      rows = std::move(slots);
      shown.tokens = upload(token);
      shown.row_begin = upload(row_begin);
      // One slot for each token would do as well: observers go by the rows of experts.
      shown.routing = {.n_tokens = std::ssize(token), .n_used = 1, .n_expert = std::ssize(row_begin) - 1};
      shown.routing.token = reinterpret_cast<int32_t*>(shown.tokens.get());
      shown.routing.row_begin = reinterpret_cast<int32_t*>(shown.row_begin.get());
    }
    shown.rows = upload(rows);
    shown.x = {reinterpret_cast<float*>(shown.rows.get()), std::ssize(rows) / n_cols, n_cols, n_cols};
  }
  for (auto left = message.number<uint64_t>(); left > 0; --left) {
    compute::Weight weight;
    weight.name = message.string<uint64_t>();
    weight.n_out = message.number<int64_t>();
    weight.n_slices = message.number<int64_t>();
    const auto slice = message.number<int64_t>();
    const Shown& shown = inputs.at(static_cast<size_t>(message.number<int64_t>(0)));
    weight.n_in = shown.x.cols;
    if (shown.routing.n_expert > 0) {
      observer.experts(backend, weight, shown.x, shown.routing);
    } else {
      observer.dense(backend, weight, slice, shown.x);
    }
  }
}

}  // namespace steelyard::calibrate
