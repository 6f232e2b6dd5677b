// A heat map of layers (across) and kinds of tensors (down). Where cells are wide enough each has its label; otherwise
// neighbours with one label share it, so that 92 layers are one look.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "report/svg.h"

namespace steelyard::report {

struct HeatCell {
  std::optional<double> value;  ///< nothing: unknown, which has a colour of its own
  std::string label;
  std::string tooltip;
};

struct HeatRow {
  std::string name;
  std::vector<std::optional<HeatCell>> cells;  ///< one per column; of a row outside the columns a single one
};

struct HeatMap {
  std::string name;
  std::string caption;     ///< above it
  std::string value_name;  ///< with its unit
  Ramp ramp = Ramp::kBlue;
  bool shares_labels = false;   ///< neighbours with one label show it once where cells are narrow; otherwise nothing
  bool is_logarithmic = false;  ///< values of 0 have the colour of the least
  std::vector<int64_t> layers;  ///< the columns
  std::vector<HeatRow> rows;    ///< in layers
  std::vector<HeatRow> others;  ///< outside
};

/// Empty text for a map without rows.
std::string heat_map(const HeatMap& map);

}  // namespace steelyard::report
