// Charts as figures of a page. Bars begin at 0. Whatever is not finite, or not above 0 on a logarithmic axis, is not
// drawn; a chart that has nothing to draw is empty text.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace steelyard::report {

enum class Mark { kCircle, kSquare, kDiamond };

struct ChartPoint {
  double x = 0, y = 0;
  double error = 0;  ///< half the length of a whisker, in y; 0: none
  Mark mark = Mark::kCircle;
  bool has_ring = false;  ///< stands out
  std::string label;      ///< beside it; may be empty
  std::string tooltip;
};

/// Points of one colour, 'a' to 'd' of style.h, as a curve or marks.
struct ChartSeries {
  std::string name;
  char colour = 'a';
  bool is_curve = false;
  std::vector<ChartPoint> points;
};

struct LineChart {
  std::string name, x_name, y_name;
  bool is_logarithmic = false;  ///< y
  std::vector<ChartSeries> series;
  std::optional<double> limit;  ///< an x that is not to be exceeded
  std::string limit_label;
};
std::string line_chart(const LineChart& chart);

/// Bars side by side along x. Of several series the later stands in front of the earlier: the earlier are larger.
struct BarSeries {
  std::string name;
  const char* colour = "fa";  ///< a class of style.h
  std::vector<double> values;
};
struct BarChart {
  std::string name, x_name, y_name;
  std::vector<std::string> labels, tooltips;  ///< as many as values; tooltips may be empty
  std::vector<BarSeries> series;
  bool are_shares = false;     ///< from 0 to 100 %
  std::optional<double> mean;  ///< a line across
  std::string mean_label;
};
std::string bar_chart(const BarChart& chart);

/// A row of several bars from the left, each a share of 1.
struct ShareRow {
  std::string label;
  std::vector<double> shares;
};
struct ShareChart {
  std::string name, x_name;
  std::vector<std::string> series;  ///< at most two names
  std::vector<ShareRow> rows;
};
std::string share_chart(const ShareChart& chart);

/// Labelled values on a logarithmic axis.
struct DotRow {
  std::string label;
  double value = 0;
  bool stands_out = false;
};
std::string dot_chart(const std::string& name, const std::string& x_name, const std::vector<DotRow>& rows);

}  // namespace steelyard::report
