// A tensor is a row of blocks in either type. So both are compared in pieces of equal numbers of weights, wherever rows
// end.
#include "quantize/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <string_view>

#include "base/check.h"
#include "base/parallel.h"

namespace steelyard::quantize {
namespace {

// Weights decoded at a time, a multiple of every block length: two steps fit the first-level cache.
constexpr int64_t kStep = 2048;
// Weights that one thread takes at a time. This shapes the result: sums are rounded piece by piece.
constexpr int64_t kPiece = 32 * kStep;
// Several running sums, so that one addition does not wait for the last.
constexpr int64_t kLanes = 8;

// The weights of one tensor, in a type that can be decoded.
struct Weights {
  const formats::Format& type;
  const std::byte* data;

  explicit Weights(const gguf::TensorInfo& tensor, const gguf::Bytes& bytes)
      : type(format(tensor.type)), data(bytes.data()) {
    STEELYARD_CHECK(type.decode != nullptr && kStep % type.block_len == 0);
  }

  void decode(int64_t begin, int64_t n, float* out) const {
    type.decode(data + begin / type.block_len * type.block_bytes, n / type.block_len, out);
  }
};

// One pair at a time, for steps that contain a non-finite value.
ErrorSums slow_sums(const float* a, const float* b, int64_t n) {
  ErrorSums sums;
  for (int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) {
      ++sums.not_finite;
      continue;
    }
    const double x = a[i], y = b[i], d = x - y;
    sums.add({.aa = x * x, .bb = y * y, .ab = x * y, .dd = d * d, .max_abs = std::abs(d)});
  }
  return sums;
}

ErrorSums step_sums(const float* a, const float* b, int64_t n) {
  double aa[kLanes] = {}, bb[kLanes] = {}, ab[kLanes] = {}, dd[kLanes] = {}, max_abs[kLanes] = {};
  const int64_t n_even = n / kLanes * kLanes;
  for (int64_t i = 0; i < n_even; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double x = a[i + lane], y = b[i + lane], d = x - y;
      aa[lane] += x * x;
      bb[lane] += y * y;
      ab[lane] += x * y;
      dd[lane] += d * d;
      max_abs[lane] = std::max(max_abs[lane], std::abs(d));
    }
  }
  ErrorSums sums;
  for (int64_t lane = 0; lane < kLanes; ++lane) sums.add({aa[lane], bb[lane], ab[lane], dd[lane], max_abs[lane]});
  // Squares of floats cannot overflow a double. What is not finite here was not finite before.
  if (!std::isfinite(sums.aa) || !std::isfinite(sums.bb)) return slow_sums(a, b, n);
  sums.add(slow_sums(a + n_even, b + n_even, n - n_even));
  return sums;
}

ErrorSums compare_weights(const Weights& a, const Weights& b, int64_t n) {
  const int64_t n_pieces = (n + kPiece - 1) / kPiece;
  std::vector<ErrorSums> pieces(static_cast<size_t>(n_pieces));
  parallel_for(n_pieces, 1, [&](int64_t piece) {
    float values_a[kStep], values_b[kStep];
    const int64_t end = std::min(n, (piece + 1) * kPiece);
    for (int64_t begin = piece * kPiece; begin < end; begin += kStep) {
      const int64_t n_step = std::min(kStep, end - begin);
      a.decode(begin, n_step, values_a);
      b.decode(begin, n_step, values_b);
      pieces[static_cast<size_t>(piece)].add(step_sums(values_a, values_b, n_step));
    }
  });
  ErrorSums sums;
  for (const ErrorSums& piece : pieces) sums.add(piece);
  return sums;
}

TensorDifference compare_tensor(const gguf::Source& reader_a, const gguf::TensorInfo& a, const gguf::Source& reader_b,
                                const gguf::TensorInfo& b) {
  TensorDifference result{.comparison = Comparison::kShape, .a = &a, .b = &b};
  if (a.ne != b.ne) return result;
  const gguf::Bytes bytes_a = reader_a.read(a), bytes_b = reader_b.read(b);
  result.same_bytes = a.type == b.type && std::ranges::equal(bytes_a.view, bytes_b.view);
  if (format(a.type).decode == nullptr || format(b.type).decode == nullptr) {
    result.comparison = Comparison::kBytes;
    return result;
  }
  result.comparison = Comparison::kWeights;
  result.error = compare_weights(Weights(a, bytes_a), Weights(b, bytes_b), a.n_elements());
  return result;
}

}  // namespace

void ErrorSums::add(const ErrorSums& other) {
  aa += other.aa;
  bb += other.bb;
  ab += other.ab;
  dd += other.dd;
  max_abs = std::max(max_abs, other.max_abs);
  not_finite += other.not_finite;
}

double ErrorSums::relative_rmse() const {
  if (dd == 0) return 0;
  return aa == 0 ? std::numeric_limits<double>::infinity() : std::sqrt(dd / aa);
}

double ErrorSums::cosine() const {
  if (aa == 0 || bb == 0) return aa == bb ? 1 : 0;
  // Roots are taken first, because the product of two sums could overflow.
  return ab / (std::sqrt(aa) * std::sqrt(bb));
}

std::vector<MetadataDifference> compare(const gguf::Metadata& a, const gguf::Metadata& b) {
  std::map<std::string_view, const gguf::KeyValue*> rest;
  for (const gguf::KeyValue& entry : b.entries()) rest.emplace(entry.key, &entry);
  std::vector<MetadataDifference> differences;
  for (const gguf::KeyValue& entry : a.entries()) {
    const auto found = rest.find(entry.key);
    const gguf::KeyValue* other = found == rest.end() ? nullptr : found->second;
    if (other == nullptr || other->type != entry.type || other->raw != entry.raw)
      differences.push_back({&entry, other});
    if (other != nullptr) rest.erase(found);
  }
  for (const gguf::KeyValue& entry : b.entries()) {
    if (rest.contains(entry.key)) differences.push_back({nullptr, &entry});
  }
  return differences;
}

std::vector<TensorDifference> compare(const gguf::Source& a, const gguf::Source& b,
                                      const std::function<void(size_t done, size_t count)>& progress) {
  std::vector<TensorDifference> differences;
  for (const gguf::TensorInfo& tensor : a.tensors()) {
    const gguf::TensorInfo* other = b.find(tensor.name);
    differences.push_back(other == nullptr ? TensorDifference{.comparison = Comparison::kOnlyA, .a = &tensor}
                                           : compare_tensor(a, tensor, b, *other));
    progress(differences.size(), a.tensors().size());
  }
  for (const gguf::TensorInfo& tensor : b.tensors()) {
    if (a.find(tensor.name) == nullptr) differences.push_back({.comparison = Comparison::kOnlyB, .b = &tensor});
  }
  return differences;
}

}  // namespace steelyard::quantize
