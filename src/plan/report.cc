#include "plan/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/error.h"

namespace steelyard {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

// 11452226048 as "11,452,226,048".
std::string grouped(uint64_t number) {
  std::string digits = std::to_string(number);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string type_column(const Decision& decision) {
  const std::string_view type = format(decision.type).name;
  if (decision.is_fallback()) return fmt::format("{} <- {} fallback", type, format(decision.wanted).name);
  return std::string(type);
}

std::string rule_column(const Decision& decision) {
  switch (decision.reason) {
    case Reason::kRule:
    case Reason::kBase:
      return decision.rule;
    case Reason::kNoRule:
      return "kept: no rule matches";
    case Reason::kProtected:
      return fmt::format("kept: {}", decision.protection);
  }
  return "";
}

// Rows of cells, each column as wide as its widest cell. `right` holds one letter per column: 'r' aligns it right.
std::string aligned(const std::vector<std::vector<std::string>>& rows, std::string_view alignment) {
  std::vector<size_t> widths(alignment.size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      line += alignment[i] == 'r' ? fmt::format("{:>{}}", row[i], widths[i]) : fmt::format("{:<{}}", row[i], widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

}  // namespace

std::string table(const Resolution& resolution) {
  std::vector<std::vector<std::string>> rows = {{"tensor", "shape", "source", "type", "bytes", "rule"}};
  for (const Decision& decision : resolution.decisions) {
    const gguf::TensorInfo& tensor = *decision.tensor;
    rows.push_back({printable(tensor.name), gguf::shape_string(tensor), std::string(format(tensor.type).name),
                    type_column(decision), grouped(decision.bytes), rule_column(decision)});
  }
  return aligned(rows, "llllrl");
}

std::string summary(const Resolution& resolution) {
  struct Sum {
    uint64_t tensors = 0;
    uint64_t elements = 0;
    uint64_t bytes = 0;
  };
  std::map<Type, Sum> sums;
  for (const Decision& decision : resolution.decisions) {
    Sum& sum = sums[decision.type];
    sum.tensors += 1;
    sum.elements += static_cast<uint64_t>(decision.tensor->n_elements());
    sum.bytes += decision.bytes;
  }
  std::vector<std::pair<Type, Sum>> by_size(sums.begin(), sums.end());
  std::stable_sort(by_size.begin(), by_size.end(),
                   [](const auto& a, const auto& b) { return a.second.bytes > b.second.bytes; });

  std::vector<std::vector<std::string>> rows = {{"type", "tensors", "elements", "bytes", "share"}};
  for (const auto& [type, sum] : by_size) {
    const double share = resolution.total_bytes > 0
                             ? 100.0 * static_cast<double>(sum.bytes) / static_cast<double>(resolution.total_bytes)
                             : 0;
    rows.push_back({std::string(format(type).name), grouped(sum.tensors), grouped(sum.elements), grouped(sum.bytes),
                    fmt::format("{:.1f} %", share)});
  }
  return aligned(rows, "lrrrr") +
         fmt::format("total: {} tensors, {} elements, {} bytes = {:.3f} GiB, {:.4f} bits per weight\n",
                     grouped(resolution.decisions.size()), grouped(resolution.n_elements),
                     grouped(resolution.total_bytes), static_cast<double>(resolution.total_bytes) / kGiB,
                     resolution.bits_per_weight);
}

}  // namespace steelyard
