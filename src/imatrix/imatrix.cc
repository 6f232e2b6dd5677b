// The in-memory matrix: its invariant, merging, and the look-up by model tensor. The file layouts are in gguf_file.cc
// and legacy_file.cc.
#include "imatrix/imatrix.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "imatrix/gguf_file.h"
#include "imatrix/legacy_file.h"

namespace steelyard::imatrix {
namespace {

// Sums go to disk as F32.
constexpr double kMaxSum = std::numeric_limits<float>::max();
// Far above any calibration, and small enough that counts of merged files cannot overflow.
constexpr int64_t kMaxCount = int64_t{1} << 53;
// Both layouts keep chunk counts and sizes in 32 bits, one of them signed.
constexpr int64_t kMaxChunks = std::numeric_limits<int32_t>::max();

// The invariant of imatrix.h. Loading checks it once for both layouts, saving once before the first byte.
void check(const Imatrix& imatrix, const std::string& path) {
  if (imatrix.entries.empty()) fail(path, "the imatrix has no entries");
  if (imatrix.chunk_size < 1 || imatrix.chunk_size > kMaxChunks) {
    fail(path, "imatrix: chunk size is {}, expected 1 to {}", imatrix.chunk_size, kMaxChunks);
  }
  if (imatrix.chunk_count < 0 || imatrix.chunk_count > kMaxChunks) {
    fail(path, "imatrix: chunk count is {}, expected 0 to {}", imatrix.chunk_count, kMaxChunks);
  }
  for (const auto& [name, entry] : imatrix.entries) {
    if (name.empty()) fail(path, "imatrix: an entry has no name");
    STEELYARD_CHECK(entry.n_in >= 1 && entry.n_expert >= 1);
    STEELYARD_CHECK(entry.in_sum2.size() == static_cast<size_t>(entry.n_in * entry.n_expert));
    STEELYARD_CHECK(entry.counts.size() == static_cast<size_t>(entry.n_expert));
    for (size_t i = 0; i < entry.in_sum2.size(); ++i) {
      if (const double sum = entry.in_sum2[i]; !(sum >= 0 && sum <= kMaxSum)) {
        fail(path, "{}: sum of squares {} is {}, expected a number from 0 to the largest F32", printable(name), i, sum);
      }
    }
    int64_t all = 0;
    for (size_t i = 0; i < entry.counts.size(); ++i) {
      if (entry.counts[i] < 0 || entry.counts[i] > kMaxCount) {
        fail(path, "{}: count {} is {}, expected 0 to 2^53", printable(name), i, entry.counts[i]);
      }
      all += entry.counts[i];
      if (all > kMaxCount) fail(path, "{}: the counts are more than 2^53 together", printable(name));
    }
  }
}

// The mean of x^2 [n_in] over all inputs of all experts, of which there must be some.
std::vector<double> layer_mean(const ImatrixEntry& entry) {
  double count = 0;
  std::vector<double> mean(static_cast<size_t>(entry.n_in), 0.0);
  for (int64_t expert = 0; expert < entry.n_expert; ++expert) {
    const double* sums = entry.in_sum2.data() + expert * entry.n_in;
    for (size_t i = 0; i < mean.size(); ++i) mean[i] += sums[i];
    count += static_cast<double>(entry.counts[static_cast<size_t>(expert)]);
  }
  for (double& value : mean) value /= count;
  return mean;
}

}  // namespace

Imatrix Imatrix::load(const std::string& path) {
  const MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.empty()) fail(path, "the file is empty, expected an imatrix");
  const bool is_gguf = bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
  Imatrix imatrix = is_gguf ? load_gguf_imatrix(path) : parse_legacy_imatrix(bytes, path);
  imatrix.source = path;
  check(imatrix, path);
  return imatrix;
}

void Imatrix::save(const std::string& path) const {
  check(*this, path);
  if (path.ends_with(".dat")) {
    save_legacy_imatrix(*this, path);
  } else {
    save_gguf_imatrix(*this, path);
  }
}

void Imatrix::merge(const Imatrix& other) {
  STEELYARD_CHECK(this != &other);
  for (const auto& [name, theirs] : other.entries) {
    const auto ours = entries.find(name);
    if (ours == entries.end()) continue;
    if (ours->second.n_in != theirs.n_in || ours->second.n_expert != theirs.n_expert) {
      fail(other.source, "{} is [{}, {}], expected [{}, {}] as in {}", printable(name), theirs.n_in, theirs.n_expert,
           ours->second.n_in, ours->second.n_expert, source);
    }
    for (size_t i = 0; i < theirs.counts.size(); ++i) {
      if (theirs.counts[i] > kMaxCount - ours->second.counts[i]) {
        fail(other.source, "{}: count {} is beyond 2^53 together with {}", printable(name), i, source);
      }
    }
  }
  const int64_t size = entries.empty() ? other.chunk_size : chunk_size;
  // Chunks of another size count as the tokens that they hold; a started chunk counts as a whole one.
  const int64_t n_more = (other.chunk_count * other.chunk_size + size - 1) / size;
  if (n_more > kMaxChunks - chunk_count) {
    fail(other.source, "its chunks, {} of {} tokens, are too many together with {}", n_more, size, source);
  }
  chunk_size = size;
  for (const auto& [name, theirs] : other.entries) {
    const auto [ours, is_new] = entries.try_emplace(name, theirs);
    if (is_new) continue;
    for (size_t i = 0; i < theirs.in_sum2.size(); ++i) ours->second.in_sum2[i] += theirs.in_sum2[i];
    for (size_t i = 0; i < theirs.counts.size(); ++i) ours->second.counts[i] += theirs.counts[i];
  }
  datasets.insert(datasets.end(), other.datasets.begin(), other.datasets.end());
  chunk_count += n_more;
}

bool fits(const ImatrixEntry& entry, const gguf::TensorInfo& tensor) {
  const int64_t n_slices = tensor.ne[2] * tensor.ne[3];
  return entry.n_in * entry.n_expert == tensor.ne[0] * n_slices && (entry.n_expert == 1 || entry.n_expert == n_slices);
}

const ImatrixEntry* Imatrix::find(const gguf::TensorInfo& tensor) const {
  const auto found = entries.find(tensor.name);
  if (found == entries.end()) return nullptr;
  const ImatrixEntry& entry = found->second;
  if (!fits(entry, tensor)) {
    fail(source, "{} is [{}, {}], expected [{}, {}] for a tensor {}: this is the imatrix of another model",
         printable(tensor.name), entry.n_in, entry.n_expert, tensor.ne[0], tensor.ne[2] * tensor.ne[3],
         gguf::shape_string(tensor));
  }
  return &entry;
}

// [n_in]; all zero where no slice needs it.
std::vector<double> Imatrix::prior(const ImatrixEntry& entry) const {
  const bool wanted =
      entry.n_expert > 1 && (prior_weight > 0 || std::ranges::find(entry.counts, 0) != entry.counts.end());
  return wanted ? layer_mean(entry) : std::vector<double>(static_cast<size_t>(entry.n_in), 0.0);
}

std::vector<float> Imatrix::row(const ImatrixEntry& entry, int64_t n_in, int64_t slice,
                                const std::vector<double>& prior) const {
  // One row per slice and one row for all slices have the same column layout. They differ only in the counts.
  const double* sums = entry.in_sum2.data() + slice * n_in;
  const auto count = static_cast<double>(entry.counts[static_cast<size_t>(entry.n_expert == 1 ? 0 : slice)]);
  const double weight = entry.n_expert == 1 ? 0 : count == 0 ? 1 : prior_weight;
  std::vector<float> result(static_cast<size_t>(n_in));
  for (size_t i = 0; i < result.size(); ++i) {
    result[i] = static_cast<float>((sums[i] + weight * prior[i]) / (count + weight));
  }
  return result;
}

namespace {

bool is_unseen(const ImatrixEntry* entry) {
  return entry == nullptr || std::ranges::all_of(entry->counts, [](int64_t count) { return count == 0; });
}

}  // namespace

std::vector<float> Imatrix::importance(const gguf::TensorInfo& tensor, int64_t slice) const {
  STEELYARD_CHECK(slice >= 0 && slice < tensor.ne[2] * tensor.ne[3] && prior_weight >= 0);
  const ImatrixEntry* entry = find(tensor);
  if (is_unseen(entry)) return {};
  return row(*entry, tensor.ne[0], slice, prior(*entry));
}

std::vector<std::vector<float>> Imatrix::importance(const gguf::TensorInfo& tensor) const {
  STEELYARD_CHECK(prior_weight >= 0);
  std::vector<std::vector<float>> rows(static_cast<size_t>(tensor.ne[2] * tensor.ne[3]));
  const ImatrixEntry* entry = find(tensor);
  if (is_unseen(entry)) return rows;
  const std::vector<double> mean = prior(*entry);
  for (size_t slice = 0; slice < rows.size(); ++slice) {
    rows[slice] = row(*entry, tensor.ne[0], static_cast<int64_t>(slice), mean);
  }
  return rows;
}

}  // namespace steelyard::imatrix
