// Passes over each entry's mean squares.
#include "imatrix/statistics.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "gguf/block_name.h"

namespace steelyard::imatrix {
namespace {

ImatrixStatistics summary(const std::string& name, const ImatrixEntry& entry) {
  ImatrixStatistics result{.name = name, .n_in = entry.n_in, .n_expert = entry.n_expert};
  std::vector<double> values;
  for (int64_t expert = 0; expert < entry.n_expert; ++expert) {
    const int64_t count = entry.counts[static_cast<size_t>(expert)];
    result.inputs += count;
    if (count == 0) {
      ++result.experts_unseen;
      continue;
    }
    const double* const sums = entry.in_sum2.data() + expert * entry.n_in;
    for (int64_t i = 0; i < entry.n_in; ++i) values.push_back(sums[i] / static_cast<double>(count));
  }
  if (values.empty()) return result;

  const auto n = static_cast<double>(values.size());
  result.n = static_cast<int64_t>(values.size());
  result.min = *std::ranges::min_element(values);
  result.max = *std::ranges::max_element(values);
  for (const double value : values) result.sum += value;
  result.mean = result.sum / n;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  result.deviation = std::sqrt(squares / n);
  int64_t active = 0, outlying = 0;
  for (const double value : values) {
    active += value > 1e-5;
    outlying += value > result.mean + result.deviation && result.deviation > 0;
    if (value > 0) result.entropy -= value / result.sum * std::log2(value / result.sum);
  }
  result.active = static_cast<double>(active) / n;
  result.outlying = static_cast<double>(outlying) / n;
  return result;
}

double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return 0;
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0;
}

}  // namespace

double ImatrixStatistics::relative_entropy() const { return n > 1 ? entropy / std::log2(static_cast<double>(n)) : 0; }

std::vector<ImatrixStatistics> statistics(const Imatrix& imatrix) {
  std::vector<ImatrixStatistics> result;
  result.reserve(imatrix.entries.size());
  for (const auto& [name, entry] : imatrix.entries) {
    result.push_back(summary(name, entry));
    const auto place = gguf::block_name(name);
    if (!place || place->block == 0) continue;
    const auto before = imatrix.entries.find("blk." + std::to_string(place->block - 1) + name.substr(place->end));
    if (before != imatrix.entries.end()) result.back().similarity = cosine(entry.in_sum2, before->second.in_sum2);
  }
  return result;
}

std::vector<BlockStatistics> block_statistics(const std::vector<ImatrixStatistics>& rows) {
  std::map<int64_t, std::pair<BlockStatistics, double>> blocks;  // sums, and the weight in them
  for (const ImatrixStatistics& row : rows) {
    const auto block = gguf::block_of(row.name);
    if (!block) continue;
    auto& [of, weight] = blocks[*block];
    const auto n = static_cast<double>(row.n);
    of.block = *block;
    of.sum += n * row.sum;
    of.outlying += n * row.outlying;
    of.similarity += n * row.similarity;
    weight += n;
  }
  std::vector<BlockStatistics> result;
  for (auto& [block, of] : blocks) {
    if (of.second == 0) continue;
    result.push_back({block, of.first.sum / of.second, of.first.outlying / of.second, of.first.similarity / of.second});
  }
  return result;
}

}  // namespace steelyard::imatrix
