#include "report/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/html.h"
#include "report/svg.h"

namespace steelyard::report {
namespace {

constexpr double kWidth = 820, kLeast = 600, kRight = 24;

bool can_draw(const ChartPoint& point, bool is_logarithmic) {
  return std::isfinite(point.x) && std::isfinite(point.y) && (!is_logarithmic || point.y > 0);
}

void draw_mark(Drawing& out, const ChartPoint& point, double x, double y, const std::string& classes) {
  if (point.mark == Mark::kSquare)
    out.rect(x - 4.5, y - 4.5, 9, 9, classes, "", point.tooltip);
  else if (point.mark == Mark::kDiamond)
    out.diamond(x, y, 6, classes, point.tooltip);
  else
    out.circle(x, y, 5, classes, point.tooltip);
}

// Names of series in a line from x on.
struct LegendEntry {
  std::string name, classes;
  bool is_curve = false;
  Mark mark = Mark::kSquare;
};
void draw_legend(Drawing& out, double x, double y, const std::vector<LegendEntry>& entries) {
  for (const LegendEntry& entry : entries) {
    if (entry.is_curve) {
      out.polyline({{x, y - 4}, {x + 18, y - 4}}, entry.classes);
    } else {
      draw_mark(out, {.mark = entry.mark}, x + 9, y - 4, entry.classes);
    }
    out.text(x + 24, y, entry.name);
    x += 24 + text_width(entry.name) + 22;
  }
}

struct Label {
  double x, y;  // of the point
  double at;    // where the text goes
  std::string text;
  bool is_right;
};

// Texts keep apart; each is joined with its point where it had to move.
void draw_labels(Drawing& out, std::vector<Label> labels, double top, double bottom) {
  constexpr double kApart = 15;
  for (const bool is_right : {true, false}) {
    std::vector<Label*> side;
    for (Label& label : labels) {
      if (label.is_right == is_right) side.push_back(&label);
    }
    if (side.empty()) continue;
    std::ranges::stable_sort(side, {}, &Label::y);
    // Labels that meet become a stack around the middle of their points; stacks that meet become one.
    struct Stack {
      double sum = 0, n = 0;  // of what a label's place is less those of the labels before it
    };
    std::vector<Stack> stacks;
    for (size_t i = 0; i < side.size(); ++i) {
      stacks.push_back({side[i]->y - kApart * static_cast<double>(i), 1});
      while (stacks.size() > 1 && stacks.back().sum / stacks.back().n < stacks.end()[-2].sum / stacks.end()[-2].n) {
        const Stack last = stacks.back();
        stacks.pop_back();
        stacks.back().sum += last.sum;
        stacks.back().n += last.n;
      }
    }
    size_t i = 0;
    for (const Stack& stack : stacks) {
      for (double k = 0; k < stack.n; ++k, ++i) side[i]->at = stack.sum / stack.n + kApart * static_cast<double>(i);
    }
    for (i = 0; i < side.size(); ++i) {
      const double least = i > 0 ? side[i - 1]->at + kApart : top + 8;
      side[i]->at = std::max(side[i]->at, least);
    }
    for (i = side.size(); i-- > 0;)
      side[i]->at = std::min(side[i]->at, i + 1 < side.size() ? side[i + 1]->at - kApart : bottom - 8);
  }
  for (const Label& label : labels) {
    const double sign = label.is_right ? 1 : -1;
    if (std::abs(label.at - label.y) > 3)
      out.line(label.x + sign * 8, label.y, label.x + sign * 24, label.at, "leader");
    out.text(label.x + sign * (std::abs(label.at - label.y) > 3 ? 27 : 13), label.at + 4, label.text, "halo",
             label.is_right ? Anchor::kStart : Anchor::kEnd);
  }
}

struct Frame {
  double left, right, top, bottom;
};

void draw_y_axis(Drawing& out, const Axis& axis, const Frame& frame, const std::string& name) {
  for (const Tick& tick : axis.ticks()) {
    out.line(frame.left, axis.at(tick.value), frame.right, axis.at(tick.value), "grid");
    out.text(frame.left - 8, axis.at(tick.value) + 4, tick.text, "tick", Anchor::kEnd);
  }
  out.vertical_text(15, (frame.top + frame.bottom) / 2, name, "axis-name");
}

void draw_x_axis(Drawing& out, const Axis& axis, const Frame& frame, const std::string& name) {
  out.line(frame.left, frame.bottom, frame.right, frame.bottom, "axis");
  for (const Tick& tick : axis.ticks()) {
    const double x = axis.at(tick.value);
    out.line(x, frame.bottom, x, frame.bottom + 5, "axis");
    out.text(x, frame.bottom + 19, tick.text, "tick", Anchor::kMiddle);
  }
  out.text((frame.left + frame.right) / 2, frame.bottom + 38, name, "axis-name", Anchor::kMiddle);
}

}  // namespace

std::string line_chart(const LineChart& chart) {
  double left = INFINITY, right = -INFINITY, low = INFINITY, high = -INFINITY;
  for (const ChartSeries& series : chart.series) {
    for (const ChartPoint& point : series.points) {
      if (!can_draw(point, chart.is_logarithmic)) continue;
      left = std::min(left, point.x);
      right = std::max(right, point.x);
      const double below = point.y - point.error;
      low = std::min(low, chart.is_logarithmic && below <= 0 ? point.y : below);
      high = std::max(high, point.y + point.error);
    }
  }
  if (!std::isfinite(low)) return "";
  if (chart.limit) {
    left = std::min(left, *chart.limit);
    right = std::max(right, *chart.limit);
  }
  const Frame frame{74, kWidth - kRight, 40, 372};
  const Axis x = Axis::linear(left, right, frame.left, frame.right);
  const Axis y = chart.is_logarithmic ? Axis::logarithmic(low, high, frame.bottom, frame.top)
                                      : Axis::linear(low, high, frame.bottom, frame.top);
  Drawing out(chart.name);
  draw_y_axis(out, y, frame, chart.y_name);
  draw_x_axis(out, x, frame, chart.x_name);
  if (chart.limit) {
    out.line(x.at(*chart.limit), frame.top, x.at(*chart.limit), frame.bottom, "limit");
    const bool fits = x.at(*chart.limit) + text_width(chart.limit_label) + 6 < frame.right;
    out.text(x.at(*chart.limit) + (fits ? 5 : -5), frame.bottom - 7, chart.limit_label, "tick halo",
             fits ? Anchor::kStart : Anchor::kEnd);
  }
  std::vector<LegendEntry> legend;
  std::vector<Label> labels;
  for (const ChartSeries& series : chart.series) {
    const std::string fill = fmt::format("f{}", series.colour), stroke = fmt::format("s{}", series.colour);
    std::vector<std::pair<double, double>> curve;
    for (const ChartPoint& point : series.points) {
      if (can_draw(point, chart.is_logarithmic)) curve.emplace_back(x.at(point.x), y.at(point.y));
    }
    if (curve.empty()) continue;
    if (series.is_curve && curve.size() > 1) out.polyline(curve, "curve " + stroke);
    for (const ChartPoint& point : series.points) {
      if (!can_draw(point, chart.is_logarithmic)) continue;
      const double px = x.at(point.x), py = y.at(point.y);
      if (point.error > 0) {
        const double below = point.y - point.error;
        const double end = chart.is_logarithmic && below <= 0 ? frame.bottom : y.at(below);
        out.line(px, y.at(point.y + point.error), px, end, ("whisker " + stroke).c_str());
      }
      if (series.is_curve) {
        out.circle(px, py, curve.size() > 60 ? 1.5 : 2.5, fill, point.tooltip);
      } else {
        draw_mark(out, point, px, py, fill);
      }
      if (point.has_ring) out.circle(px, py, 9, "ring");
      if (!point.label.empty())
        labels.push_back({px, py, py, point.label, px + 27 + text_width(point.label) < frame.right});
    }
    legend.push_back({series.name, series.is_curve ? "curve " + stroke : fill, series.is_curve,
                      series.points.empty() ? Mark::kCircle : series.points.front().mark});
  }
  draw_labels(out, std::move(labels), frame.top, frame.bottom);
  if (chart.series.size() > 1) draw_legend(out, frame.left, 20, legend);
  return out.html(kWidth, frame.bottom + 50, kLeast);
}

std::string bar_chart(const BarChart& chart) {
  const size_t n = chart.labels.size();
  if (n == 0) return "";
  double most = 0;
  for (const BarSeries& series : chart.series) {
    for (const double value : series.values) most = std::max(most, std::isfinite(value) ? value : 0);
  }
  constexpr double kLeft = 74;
  const double step = std::min((kWidth - kRight - kLeft) / static_cast<double>(n), 72.0);
  const Frame frame{kLeft, kLeft + step * static_cast<double>(n), chart.series.size() > 1 ? 40.0 : 18.0, 258};
  const Axis y = Axis::from_zero(chart.are_shares ? 100 : most, frame.bottom, frame.top);
  const double scale = chart.are_shares ? 100 : 1;
  Drawing out(chart.name);
  draw_y_axis(out, y, frame, chart.y_name);
  const double width = std::max(step * 0.76, 1.0);
  double widest = 0;
  for (const std::string& label : chart.labels) widest = std::max(widest, text_width(label));
  const size_t stride = label_stride(step, widest);
  for (size_t i = 0; i < n; ++i) {
    const double middle = frame.left + step * (static_cast<double>(i) + 0.5);
    for (const BarSeries& series : chart.series) {
      if (!std::isfinite(series.values[i])) continue;
      const double top = y.at(scale * series.values[i]);
      out.rect(middle - width / 2, top, width, frame.bottom - top, series.colour, "",
               i < chart.tooltips.size() ? chart.tooltips[i] : "");
    }
    if (i % stride == 0) out.text(middle, frame.bottom + 18, chart.labels[i], "tick", Anchor::kMiddle);
  }
  out.line(frame.left, frame.bottom, frame.right, frame.bottom, "axis");
  out.text((frame.left + frame.right) / 2, frame.bottom + 38, chart.x_name, "axis-name", Anchor::kMiddle);
  if (chart.mean && std::isfinite(*chart.mean)) {
    const double at = y.at(scale * *chart.mean);
    out.line(frame.left, at, frame.right, at, "limit");
    out.text(frame.right, at - 5, chart.mean_label, "tick halo", Anchor::kEnd);
  }
  if (chart.series.size() > 1) {
    std::vector<LegendEntry> legend;
    for (const BarSeries& series : chart.series) legend.push_back({series.name, series.colour});
    draw_legend(out, frame.left, 20, legend);
  }
  return out.html(kWidth, frame.bottom + 50, kLeast);
}

std::string share_chart(const ShareChart& chart) {
  if (chart.rows.empty()) return "";
  double most = 0, names = 0;
  for (const ShareRow& row : chart.rows) {
    names = std::max(names, text_width(row.label));
    for (const double share : row.shares) most = std::max(most, std::isfinite(share) ? share : 0);
  }
  constexpr double kBar = 12, kRow = 38;
  const Frame frame{names + 14, kWidth - 70, 36, 36 + kRow * static_cast<double>(chart.rows.size())};
  const Axis x = Axis::from_zero(100 * most, frame.left, frame.right);
  Drawing out(chart.name);
  for (const Tick& tick : x.ticks()) {
    out.line(x.at(tick.value), frame.top, x.at(tick.value), frame.bottom, "grid");
    out.text(x.at(tick.value), frame.bottom + 17, tick.text + " %", "tick", Anchor::kMiddle);
  }
  static const std::string kFills[] = {"fa", "fb"};
  double top = frame.top + (kRow - 2 * kBar - 2) / 2;
  for (const ShareRow& row : chart.rows) {
    out.text(frame.left - 10, top + kBar + 5, row.label, "", Anchor::kEnd);
    for (size_t s = 0; s < row.shares.size() && s < 2; ++s) {
      if (!std::isfinite(row.shares[s])) continue;
      const double end = x.at(100 * row.shares[s]), y = top + static_cast<double>(s) * (kBar + 2);
      out.rect(frame.left, y, end - frame.left, kBar, kFills[s], "",
               fmt::format("{}: {} {}", row.label, percent_text(row.shares[s]), chart.series[s]));
      out.text(end + 6, y + 10, percent_text(row.shares[s]), "tick");
    }
    top += kRow;
  }
  out.line(frame.left, frame.top, frame.left, frame.bottom, "axis");
  out.text((frame.left + frame.right) / 2, frame.bottom + 36, chart.x_name, "axis-name", Anchor::kMiddle);
  std::vector<LegendEntry> legend;
  for (size_t s = 0; s < chart.series.size() && s < 2; ++s) legend.push_back({chart.series[s], kFills[s]});
  draw_legend(out, frame.left, 18, legend);
  return out.html(kWidth, frame.bottom + 46, kLeast);
}

std::string dot_chart(const std::string& name, const std::string& x_name, const std::vector<DotRow>& rows) {
  double low = INFINITY, high = 0, names = 0;
  for (const DotRow& row : rows) {
    names = std::max(names, text_width(row.label));
    if (!std::isfinite(row.value) || row.value <= 0) continue;
    low = std::min(low, row.value);
    high = std::max(high, row.value);
  }
  if (!(high > 0)) return "";
  // Percentiles of what agrees exactly are rounding errors; the picture is about the others.
  low = std::max(low, high * 1e-8);
  constexpr double kRow = 26;
  const Frame frame{names + 14, kWidth - 90, 8, 8 + kRow * static_cast<double>(rows.size())};
  const Axis x = Axis::logarithmic(low, high, frame.left, frame.right);
  Drawing out(name);
  for (const Tick& tick : x.ticks()) {
    out.line(x.at(tick.value), frame.top, x.at(tick.value), frame.bottom, "grid");
    out.text(x.at(tick.value), frame.bottom + 17, tick.text, "tick", Anchor::kMiddle);
  }
  double y = frame.top + kRow / 2;
  for (const DotRow& row : rows) {
    out.text(frame.left - 10, y + 4, row.label, "", Anchor::kEnd);
    if (std::isfinite(row.value) && row.value >= 0) {
      const double at = row.value > 0 ? x.at(row.value) : frame.left;
      out.line(frame.left, y, frame.right, y, "grid");
      if (row.stands_out)
        out.diamond(at, y, 6, "fb", row.label);
      else
        out.circle(at, y, 5, "fa", row.label);
      out.text(at + 12, y + 4, number_text(row.value), "halo");
    }
    y += kRow;
  }
  out.line(frame.left, frame.bottom, frame.right, frame.bottom, "axis");
  out.text((frame.left + frame.right) / 2, frame.bottom + 36, x_name, "axis-name", Anchor::kMiddle);
  return out.html(kWidth, frame.bottom + 46, kLeast);
}

}  // namespace steelyard::report
