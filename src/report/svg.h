// Drawing: an SVG picture element by element, axes with round ticks, and maps from numbers to colours. Charts are made
// of these (charts.h, heat_map.h). Colours of lines and text are classes of style.h, so that they follow the screen's.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace steelyard::report {

/// Where a text stands beside its point.
enum class Anchor { kStart, kMiddle, kEnd };

/// Coordinates in pixels, y downwards. Texts and tooltips are any text.
class Drawing {
 public:
  /// What the picture is, for those who hear it.
  explicit Drawing(std::string name) : name_(std::move(name)) {}

  void text(double x, double y, std::string_view what, const char* classes = "", Anchor anchor = Anchor::kStart);
  void line(double x1, double y1, double x2, double y2, const char* classes);
  void polyline(const std::vector<std::pair<double, double>>& points, const std::string& classes);
  /// `fill`: a colour, or empty where a class has it.
  void rect(double x, double y, double width, double height, const std::string& classes, const std::string& fill = "",
            std::string_view tooltip = "");
  void circle(double x, double y, double radius, const std::string& classes, std::string_view tooltip = "");
  void diamond(double x, double y, double radius, const std::string& classes, std::string_view tooltip = "");
  /// Text in a colour of its own, for cells.
  void coloured_text(double x, double y, std::string_view what, const char* fill);
  /// Turned by a quarter, reading upwards; around its middle.
  void vertical_text(double x, double y, std::string_view what, const char* classes);

  /// As a figure of at most this width; narrower screens scroll below `least` pixels. `caption`: above it, any text.
  std::string html(double width, double height, double least, std::string_view caption = "") const;

 private:
  std::string name_;
  std::string body_;
};

/// Pixels that a text of 12 px takes, roughly and rather too many.
double text_width(std::string_view what);

/// Of marks that are `apart` pixels from each other, every how many can have a label of this width.
size_t label_stride(double apart, double width);

struct Tick {
  double value;
  std::string text;
};

/// A range of values on pixels from..to.
class Axis {
 public:
  /// With a little room beyond least and most, which are finite.
  static Axis linear(double least, double most, double from, double to);
  /// From 0 up to the first tick that is at least `most`.
  static Axis from_zero(double most, double from, double to);
  /// Both above 0.
  static Axis logarithmic(double least, double most, double from, double to);

  double at(double value) const;
  const std::vector<Tick>& ticks() const { return ticks_; }

 private:
  double low_ = 0, high_ = 1, from_ = 0, to_ = 1;
  bool is_log_ = false;
  std::vector<Tick> ticks_;
};

/// Colours from light (0) to dark (1), told apart without colour vision by lightness alone.
enum class Ramp { kBlue, kAmber };
/// "#rrggbb"; `part` is clamped.
std::string colour(Ramp ramp, double part);
/// Of text on it: black or white.
const char* ink_on(Ramp ramp, double part);

}  // namespace steelyard::report
