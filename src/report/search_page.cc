#include "report/search_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>

#include "base/check.h"
#include "report/charts.h"
#include "report/html.h"
#include "report/tensor_sections.h"

namespace steelyard::report {
namespace {

std::string signed_text(double value) {
  const std::string text = number_text(std::abs(value));
  return value < 0 ? "−" + text : value > 0 ? "+" + text : text;
}

// Of a percentage that is not a share.
std::string signed_percent(double percent) {
  if (!std::isfinite(percent)) return "–";
  return fmt::format("{}{:.1f}", percent < 0 ? "−" : "+", std::abs(percent));
}

std::string rounded_percent(double part, double whole) {
  return whole > 0 && std::isfinite(part / whole) ? fmt::format("{:.0f}", 100 * part / whole) : "0";
}

std::string difference_html(const Estimate& difference) {
  if (difference.mean == 0 && difference.standard_error == 0) return "";
  std::string text = number_text(std::abs(difference.mean), difference.standard_error);
  return (difference.mean < 0 ? "−" : "+") + text;
}

double bits(uint64_t bytes, uint64_t n_elements) {
  return n_elements > 0 ? 8 * static_cast<double>(bytes) / static_cast<double>(n_elements) : 0;
}

std::string head(const SearchPage& data) {
  const MeasuredPlan& start = data.plans.front();
  const MeasuredPlan& chosen = data.plans[data.chosen];
  std::vector<Tile> figures = {
      {"chosen plan", chosen.name, data.output},
      {"tensor data", bytes_text(chosen.bytes),
       fmt::format("{:.3f} bits per weight; {} allowed", bits(chosen.bytes, data.n_elements), bytes_text(data.budget))},
      {"KLD on held-out text", number_text(chosen.kld.mean),
       fmt::format("± {} nats per token", error_text(chosen.kld.standard_error))},
      {"same top token", percent_text(chosen.same_top), fmt::format("start: {}", percent_text(start.same_top))}};
  std::string out = tiles(figures);
  if (data.chosen == 0) {
    out += "<p>Nothing that was measured is better than the start plan at a significance of 1 %.</p>\n";
  } else {
    const double share = start.kld.mean > 0 ? chosen.from_start.mean / start.kld.mean : 0;
    out += fmt::format(
        "<p>The chosen plan diverges by {} nats per token {} than the start plan ({} %), with a standard error of "
        "{}, paired by chunk.</p>\n",
        number_text(std::abs(chosen.from_start.mean)), chosen.from_start.mean < 0 ? "less" : "more",
        signed_percent(100 * share), error_text(chosen.from_start.standard_error));
  }
  Table table({{"plan"},
               {"tensor data", true},
               {"bits", true},
               {"KLD measured", true},
               {"estimated", true},
               {"same top", true},
               {"KLD − start", true},
               {"KLD − chosen", true}});
  for (size_t i = 0; i < data.plans.size(); ++i) {
    const MeasuredPlan& plan = data.plans[i];
    table.add({escaped(plan.name) + (i == data.chosen ? " (chosen)" : ""),
               fmt::format("{} <small class=\"exact\">{}</small>", bytes_text(plan.bytes), count_text(plan.bytes)),
               fmt::format("{:.3f}", bits(plan.bytes, data.n_elements)),
               number_text(plan.kld.mean, plan.kld.standard_error), plan.estimated ? number_text(*plan.estimated) : "–",
               percent_text(plan.same_top), difference_html(plan.from_start), difference_html(plan.from_chosen)},
              i == data.chosen);
  }
  out += table.html();
  out += fmt::format(
      "<p class=\"note\">KLD is the Kullback–Leibler divergence of the quantized model's distribution of the next "
      "token "
      "from the original's, in nats per token, on {} chunks of {} tokens that nothing was calibrated on; {} others "
      "were "
      "for calibration. Bits are per weight of all tensors. ± is the standard error over chunks. Differences are "
      "paired: both plans see the same chunks, "
      "so "
      "they are known better than either figure. The estimate is that of the picture of size against divergence below; "
      "a plan with "
      "types that were not tried has none.</p>\n",
      data.n_held_out, data.n_ctx, data.n_calibrating);
  return out;
}

// The curve and the measured plans, in one unit for the axis. `window`: bytes that it shows, from and to.
LineChart frontier_chart(const SearchPage& data, std::pair<uint64_t, uint64_t> window) {
  const bool is_large = data.budget >= uint64_t{1} << 30;
  const double unit = is_large ? 1 << 30 : 1 << 20;
  const auto at = [unit](uint64_t bytes) { return static_cast<double>(bytes) / unit; };
  const auto is_shown = [&](uint64_t bytes) { return window.first <= bytes && bytes <= window.second; };
  LineChart chart{.x_name = fmt::format("tensor data, {}", is_large ? "GiB" : "MiB"),
                  .limit = at(data.budget),
                  .limit_label = "budget"};
  ChartSeries curve{.name = "best types for the bytes, estimated", .colour = 'a', .is_curve = true};
  for (const FrontierPoint& point : data.frontier) {
    if (is_shown(point.bytes))
      curve.points.push_back(
          {.x = at(point.bytes),
           .y = point.kld,
           .tooltip = fmt::format("{}: {} estimated", bytes_text(point.bytes), number_text(point.kld))});
  }
  chart.series.push_back(std::move(curve));
  struct Kind {
    MeasuredPlan::Role role;
    const char* name;
    char colour;
    Mark mark;
  };
  for (const Kind& kind : {Kind{MeasuredPlan::Role::kStart, "start, measured", 'd', Mark::kSquare},
                           Kind{MeasuredPlan::Role::kPreset, "preset, measured", 'c', Mark::kDiamond},
                           Kind{MeasuredPlan::Role::kProposal, "proposal, measured", 'b', Mark::kCircle}}) {
    ChartSeries series{.name = kind.name, .colour = kind.colour};
    for (size_t i = 0; i < data.plans.size(); ++i) {
      const MeasuredPlan& plan = data.plans[i];
      if (plan.role != kind.role || !is_shown(plan.bytes)) continue;
      series.points.push_back({.x = at(plan.bytes),
                               .y = plan.kld.mean,
                               .error = plan.kld.standard_error,
                               .mark = kind.mark,
                               .has_ring = i == data.chosen,
                               .label = plan.name,
                               .tooltip = fmt::format("{}: {}, {} measured", plan.name, bytes_text(plan.bytes),
                                                      number_text(plan.kld.mean, plan.kld.standard_error))});
    }
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  return chart;
}

std::string frontier_section(const SearchPage& data) {
  LineChart whole = frontier_chart(data, {0, UINT64_MAX});
  whole.name = "Size against divergence";
  whole.y_name = "KLD, nats per token (logarithmic)";
  whole.is_logarithmic = true;
  std::vector<ChartPoint>& curve = whole.series.front().points;
  double largest = 0;
  for (const ChartPoint& point : curve) largest = std::max(largest, std::isfinite(point.y) ? point.y : 0);
  const bool is_cut = std::erase_if(curve, [&](const ChartPoint& point) { return !(point.y > 1e-4 * largest); }) > 0;
  std::string body = line_chart(whole);
  if (body.empty()) body = "<p class=\"note\">Nothing diverges, so there is nothing to draw.</p>\n";
  if (is_cut)
    body +=
        "<p class=\"note\">The curve ends where the estimate comes near 0: the best candidate of each tensor counts as "
        "no loss.</p>\n";
  LineChart near = frontier_chart(data, {data.budget - data.budget / 16, data.budget + data.budget / 16});
  near.name = "Size against divergence near the budget";
  near.y_name = "KLD, nats per token";
  if (const std::string enlarged = line_chart(near); !enlarged.empty()) body += "<h3>Near the budget</h3>\n" + enlarged;
  return section(
      "Size against divergence",
      "The curve is what the best choice of types would lose at each size, by the estimates. In a model with "
      "experts their scale was fitted to a measured plan, so that one agrees by itself. Proposals usually lose "
      "more than estimated: they were chosen for low estimates. Marks are measured plans with one standard "
      "error; the ring is the chosen one.",
      body);
}

std::string more_section(const SearchPage& data) {
  if (!data.more) return "";
  const MoreBytes& more = *data.more;
  const double saved = more.kld_before - more.kld_after;
  std::string about = fmt::format(
      "With {} more ({} % of the budget) the best types would have an estimated KLD of {} instead of {} nats per "
      "token, {} % less.",
      bytes_text(more.extra),
      signed_percent(data.budget > 0 ? 100 * static_cast<double>(more.extra) / static_cast<double>(data.budget) : 0),
      number_text(more.kld_after), number_text(more.kld_before), rounded_percent(saved, more.kld_before));
  if (more.changes.empty()) return section("What more bytes would buy", about + " No type would change.", "");
  Table table({{"kind of tensor"}, {"from"}, {"to"}, {"tensors", true}, {"bytes", true}, {"loss, nats", true}});
  constexpr size_t kMostRows = 30;
  for (const TypeChange& change : std::span(more.changes).first(std::min(kMostRows, more.changes.size()))) {
    const auto size = static_cast<uint64_t>(std::abs(change.more_bytes));
    table.add({fmt::format("<code>{}</code>", escaped(change.kind)), escaped(change.from), escaped(change.to),
               std::to_string(change.n_tensors), (change.more_bytes < 0 ? "−" : "+") + bytes_text(size),
               signed_text(-change.less_loss)});
  }
  std::string body = table.html();
  if (more.changes.size() > kMostRows)
    body += fmt::format("<p class=\"note\">And {} changes of fewer bytes.</p>\n", more.changes.size() - kMostRows);
  return section("What more bytes would buy",
                 about +
                     " Compared are the best types for the budget and those for the larger one, both by the "
                     "estimates.",
                 body);
}

}  // namespace

std::string search_page(const SearchPage& data) {
  STEELYARD_CHECK(!data.plans.empty() && data.chosen < data.plans.size());
  const std::string body = head(data) + tensor_map_section(data) + group_section(data) + frontier_section(data) +
                           more_section(data) + divergence_sections(data.divergence);
  return page("A plan for " + std::filesystem::path(data.model).filename().string(),
              fmt::format("{}, text {}", data.model, data.text), body);
}

}  // namespace steelyard::report
