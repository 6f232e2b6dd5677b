#include "report/heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace steelyard::report {
namespace {

constexpr double kRow = 24, kTop = 34, kMostWidth = 900, kLegend = 260;
// Less than a ten-thousandth of the largest value is nothing that anybody looks for.
constexpr double kDecades = 4;

// At the size of labels in cells.
double label_text_width(const std::string& label) { return 6.3 * static_cast<double>(label.size()); }

class HeatMapDrawing {
 public:
  explicit HeatMapDrawing(const HeatMap& map) : map_(map), out_(map.name) {
    double names = 0;
    for (const auto* rows : {&map.rows, &map.others}) {
      for (const HeatRow& row : *rows) {
        names = std::max(names, text_width(row.name));
        for (const auto& cell : row.cells) {
          if (!cell) continue;
          label_width_ = std::max(label_width_, label_text_width(cell->label) + 8);
          if (cell->value && std::isfinite(*cell->value)) see(*cell->value);
        }
      }
    }
    if (map.is_logarithmic) low_ = std::clamp(low_, high_ * std::pow(10, -kDecades), high_);
    left_ = names + 14;
    const auto n = static_cast<double>(std::max<size_t>(map.layers.size(), 1));
    cell_ = std::clamp(std::floor(kMostWidth / n), 6.0, std::max(label_width_, 44.0));
  }

  std::string html() {
    draw_columns();
    double y = kTop;
    for (const HeatRow& row : map_.rows) {
      out_.text(left_ - 8, y + 16, row.name, "", Anchor::kEnd);
      for (size_t i = 0; i < row.cells.size(); ++i) draw_cell(row.cells[i], x(i), y, cell_);
      draw_labels(row, y);
      y += kRow;
    }
    const double wide = std::max(label_width_, 44.0);
    if (!map_.rows.empty() && !map_.others.empty()) y += 10;
    for (const HeatRow& row : map_.others) {
      out_.text(left_ - 8, y + 16, row.name, "", Anchor::kEnd);
      for (const auto& cell : row.cells) {
        draw_cell(cell, left_, y, wide);
        if (cell) draw_label(*cell, left_ + wide / 2, y);
      }
      y += kRow;
    }
    draw_legend(y + 24);
    const double right = left_ + std::max(cell_ * static_cast<double>(map_.layers.size()), kLegend + 60);
    return out_.html(right + 12, y + 66, std::min(right, 700.0), map_.caption);
  }

 private:
  void see(double value) {
    if (map_.is_logarithmic && value <= 0) return;
    low_ = is_seen_ ? std::min(low_, value) : value;
    high_ = is_seen_ ? std::max(high_, value) : value;
    is_seen_ = true;
  }
  double x(size_t column) const { return left_ + cell_ * static_cast<double>(column); }
  // From 0 to 1.
  double part(double value) const {
    if (!(high_ > low_)) return 0.5;
    if (!map_.is_logarithmic) return (value - low_) / (high_ - low_);
    return value <= low_ ? 0 : std::log(value / low_) / std::log(high_ / low_);
  }
  bool is_known(const HeatCell& cell) const { return cell.value && std::isfinite(*cell.value); }

  void draw_columns() {
    if (map_.rows.empty()) return;
    const size_t stride = label_stride(cell_, text_width(std::to_string(map_.layers.back())));
    for (size_t i = 0; i < map_.layers.size(); i += stride)
      out_.text(x(i) + cell_ / 2, kTop - 8, std::to_string(map_.layers[i]), "tick", Anchor::kMiddle);
    out_.text(left_ - 8, kTop - 8, "layer", "axis-name", Anchor::kEnd);
  }

  void draw_cell(const std::optional<HeatCell>& cell, double at, double y, double width) {
    const double gap = width > 16 ? 1 : 0.5;
    if (!cell) return;
    out_.rect(at + gap / 2, y + 1, width - gap, kRow - 2, is_known(*cell) ? "" : "unknown",
              is_known(*cell) ? colour(map_.ramp, part(*cell->value)) : "", cell->tooltip);
  }

  void draw_label(const HeatCell& cell, double middle, double y) {
    if (cell.label.empty()) return;
    out_.coloured_text(middle, y + 16, cell.label,
                       is_known(cell) ? ink_on(map_.ramp, part(*cell.value)) : "var(--ink)");
  }

  void draw_labels(const HeatRow& row, double y) {
    const bool is_wide = cell_ >= label_width_ - 4;
    if (!is_wide && !map_.shares_labels) return;
    for (size_t begin = 0, end = 0; begin < row.cells.size(); begin = end) {
      end = begin + 1;
      if (!row.cells[begin]) continue;
      const std::string& label = row.cells[begin]->label;
      while (!is_wide && end < row.cells.size() && row.cells[end] && row.cells[end]->label == label) ++end;
      if (x(end) - x(begin) < label_text_width(label) + 3) continue;
      // Values behind one label may differ, so the text is on the colour of the middle one.
      draw_label({row.cells[(begin + end - 1) / 2]->value, label, ""}, (x(begin) + x(end)) / 2, y);
    }
  }

  void draw_legend(double y) {
    if (!is_seen_) return;
    constexpr int kSteps = 52;
    for (int i = 0; i < kSteps; ++i)
      out_.rect(left_ + i * kLegend / kSteps, y, kLegend / kSteps + (i + 1 < kSteps ? 1 : 0), 10, "",
                colour(map_.ramp, high_ > low_ ? (i + 0.5) / kSteps : 0.5));
    const auto tick = [&](double place, double value, Anchor anchor) {
      out_.text(left_ + place * kLegend, y + 24, fmt::format("{:.3g}", value), "tick", anchor);
    };
    if (high_ > low_) {
      tick(0, low_, Anchor::kStart);
      tick(0.5, map_.is_logarithmic ? std::sqrt(low_ * high_) : (low_ + high_) / 2, Anchor::kMiddle);
      tick(1, high_, Anchor::kEnd);
    } else {
      tick(0.5, low_, Anchor::kMiddle);
    }
    out_.text(left_, y - 6, map_.value_name + (map_.is_logarithmic ? " (logarithmic)" : ""), "axis-name");
  }

  const HeatMap& map_;
  Drawing out_;
  double left_ = 0, cell_ = 0, label_width_ = 0;
  double low_ = 0, high_ = 0;
  bool is_seen_ = false;
};

}  // namespace

std::string heat_map(const HeatMap& map) {
  if (map.rows.empty() && map.others.empty()) return "";
  return HeatMapDrawing(map).html();
}

}  // namespace steelyard::report
