#include "report/tensor_sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "report/charts.h"
#include "report/heat_map.h"
#include "report/html.h"

namespace steelyard::report {
namespace {

double bits(const PlannedTensor& tensor) {
  return tensor.n_elements > 0 ? 8 * static_cast<double>(tensor.bytes) / static_cast<double>(tensor.n_elements) : 0;
}

std::string tooltip(const PlannedTensor& tensor) {
  return fmt::format(
      "{}: {}, {:.2f} bits per weight, {}, {}", tensor.name, tensor.type, bits(tensor), bytes_text(tensor.bytes),
      tensor.loss ? fmt::format("loss {} nats per token", number_text(*tensor.loss)) : "loss not estimated");
}

// The rows of both maps; `value` and `label` fill the cells.
template <class Value, class Label>
HeatMap tensor_map(const SearchPage& data, const Value& value, const Label& label) {
  std::set<int64_t> layers;
  std::vector<std::string> kinds;
  for (const PlannedTensor& tensor : data.tensors) {
    if (!tensor.is_planned || !tensor.layer) continue;
    layers.insert(*tensor.layer);
    if (std::ranges::find(kinds, tensor.kind) == kinds.end()) kinds.push_back(tensor.kind);
  }
  std::ranges::sort(kinds);
  HeatMap map;
  map.layers.assign(layers.begin(), layers.end());
  for (const std::string& kind : kinds) {
    const std::string name = kind.ends_with(".weight") ? kind.substr(0, kind.size() - 7) : kind;
    map.rows.push_back({name, std::vector<std::optional<HeatCell>>(map.layers.size())});
  }
  for (const PlannedTensor& tensor : data.tensors) {
    if (!tensor.is_planned) continue;
    HeatCell cell{value(tensor), label(tensor), tooltip(tensor)};
    if (!tensor.layer) {
      map.others.push_back({tensor.kind, {std::move(cell)}});
      continue;
    }
    const auto row = static_cast<size_t>(std::ranges::find(kinds, tensor.kind) - kinds.begin());
    const auto column = static_cast<size_t>(std::distance(layers.begin(), layers.find(*tensor.layer)));
    map.rows[row].cells[column] = std::move(cell);
  }
  return map;
}

std::string short_number(double value) {
  if (!std::isfinite(value)) return "?";
  if (value == 0) return "0";
  return value >= 0.001 ? fmt::format("{:.4f}", value) : fmt::format("{:.1e}", value);
}

}  // namespace

std::string tensor_map_section(const SearchPage& data) {
  HeatMap types = tensor_map(
      data, [](const PlannedTensor& tensor) { return std::optional(bits(tensor)); },
      [](const PlannedTensor& tensor) { return tensor.type; });
  types.name = "Types by layer and kind of tensor";
  types.caption = "Type";
  types.shares_labels = true;
  types.value_name = "bits per weight";
  HeatMap losses = tensor_map(
      data, [](const PlannedTensor& tensor) { return tensor.loss; },
      [](const PlannedTensor& tensor) { return tensor.loss ? short_number(*tensor.loss) : "?"; });
  losses.name = "Estimated losses by layer and kind of tensor";
  losses.caption = "Estimated loss in this type";
  losses.value_name = "estimated loss, nats per token";
  losses.ramp = Ramp::kAmber;
  losses.is_logarithmic = true;
  const std::string first = heat_map(types);
  if (first.empty()) return "";
  const bool has_all = data.plans[data.chosen].estimated.has_value();
  const std::string note =
      has_all ? ""
              : "<p class=\"note\">Some of the chosen plan's types were not tried: losses are those of the other "
                "tensors.</p>\n";
  return section(
      "Layers and kinds of tensors",
      "First: the type that the chosen plan gives each tensor, darker for more bits. Then: what it is "
      "estimated to add to the KLD in this type, darker for more. Empty places have no such tensor, grey ones "
      "no estimate. Details are in the tooltip of each cell.",
      note + "<div class=\"pair\">\n" + first + heat_map(losses) + "</div>\n");
}

std::string group_section(const SearchPage& data) {
  struct Sum {
    uint64_t bytes = 0, n_elements = 0;
    double loss = 0;
    int64_t n_tensors = 0;
    bool has_loss = false;
  };
  std::map<std::string, Sum> groups;
  Sum all;
  for (const PlannedTensor& tensor : data.tensors) {
    for (Sum* const sum : {&groups[tensor.group], &all}) {
      sum->bytes += tensor.bytes;
      sum->n_elements += tensor.n_elements;
      sum->loss += tensor.loss.value_or(0);
      sum->n_tensors += 1;
      sum->has_loss |= tensor.loss.has_value();
    }
  }
  if (all.bytes == 0) return "";
  std::vector<std::pair<std::string, Sum>> sorted(groups.begin(), groups.end());
  std::ranges::stable_sort(sorted, std::ranges::greater(), [](const auto& entry) { return entry.second.bytes; });
  ShareChart chart{.name = "Bytes and losses by group",
                   .x_name = "share of all",
                   .series = {"of the bytes", "of the estimated loss"}};
  Table table({{"group"},
               {"tensors", true},
               {"bytes", true},
               {"of all", true},
               {"bits per weight", true},
               {"estimated loss, nats", true},
               {"of all", true}});
  const auto share_of_loss = [&](const Sum& sum) { return all.loss > 0 ? sum.loss / all.loss : 0; };
  const auto add = [&](const std::string& name, const Sum& sum, bool is_marked) {
    const double share = static_cast<double>(sum.bytes) / static_cast<double>(all.bytes);
    const double bits =
        sum.n_elements > 0 ? 8 * static_cast<double>(sum.bytes) / static_cast<double>(sum.n_elements) : 0;
    table.add({escaped(name), std::to_string(sum.n_tensors), bytes_text(sum.bytes), percent_text(share),
               fmt::format("{:.3f}", bits), sum.has_loss ? number_text(sum.loss) : "–",
               sum.has_loss ? percent_text(share_of_loss(sum)) : "–"},
              is_marked);
  };
  for (const auto& [name, sum] : sorted) {
    chart.rows.push_back({name, {static_cast<double>(sum.bytes) / static_cast<double>(all.bytes)}});
    if (sum.has_loss) chart.rows.back().shares.push_back(share_of_loss(sum));
    add(name, sum, false);
  }
  add("all", all, true);
  return section(
      "Bytes and losses by group",
      "A group with a larger share of the loss than of the bytes is one where bits are expensive, not one that was "
      "forgotten: at the best choice of types one more byte saves about the same everywhere. Groups without "
      "an estimate have only bytes.",
      share_chart(chart) + table.html());
}

}  // namespace steelyard::report
