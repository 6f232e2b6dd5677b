#include "plan_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace steelyard::tools {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

// 11452226048 as "11,452,226,048".
std::string grouped(uint64_t number) {
  std::string digits = std::to_string(number);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string type_column(const jobs::PlannedTensor& tensor) {
  return tensor.type == tensor.wanted_type ? tensor.type
                                           : fmt::format("{} <- {} fallback", tensor.type, tensor.wanted_type);
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

std::string table(const jobs::PlanResult& plan) {
  std::vector<std::vector<std::string>> rows = {{"tensor", "shape", "source", "type", "bytes", "rule"}};
  for (const jobs::PlannedTensor& tensor : plan.tensors) {
    rows.push_back({printable(tensor.name), fmt::format("[{}]", fmt::join(tensor.shape, ", ")), tensor.source_type,
                    type_column(tensor), grouped(tensor.bytes),
                    tensor.kept.empty() ? tensor.rule : "kept: " + tensor.kept});
  }
  return aligned(rows, "llllrl");
}

std::string summary(const jobs::PlanResult& plan) {
  std::vector<std::vector<std::string>> rows = {{"type", "tensors", "elements", "bytes", "share"}};
  for (const jobs::PlannedType& type : plan.types) {
    const double share =
        plan.total_bytes > 0 ? 100.0 * static_cast<double>(type.bytes) / static_cast<double>(plan.total_bytes) : 0;
    rows.push_back({type.type, grouped(type.tensors), grouped(type.elements), grouped(type.bytes),
                    fmt::format("{:.1f} %", share)});
  }
  return aligned(rows, "lrrrr") +
         fmt::format("total: {} tensors, {} elements, {} bytes = {:.3f} GiB, {:.4f} bits per weight\n",
                     grouped(plan.tensors.size()), grouped(plan.n_elements), grouped(plan.total_bytes),
                     static_cast<double>(plan.total_bytes) / kGiB, plan.bits_per_weight);
}

std::string findings_text(const std::vector<jobs::PlanFinding>& findings) {
  std::string text;
  for (const jobs::PlanFinding& finding : findings) {
    text += fmt::format("{}: {}\n", finding.severity, describe(plan::Finding{{}, finding.what, finding.subjects}));
  }
  return text;
}

std::string plan_report(const jobs::PlanResult& plan) {
  return table(plan) + "\n" + summary(plan) + findings_text(plan.findings);
}

}  // namespace steelyard::tools
