#include "report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "report/html.h"

namespace steelyard::report {
namespace {

const char* anchor_name(Anchor anchor) {
  return anchor == Anchor::kStart ? "start" : anchor == Anchor::kMiddle ? "middle" : "end";
}

std::string titled(std::string_view element, std::string_view attributes, std::string_view tooltip) {
  if (tooltip.empty()) return fmt::format("<{} {}/>\n", element, attributes);
  return fmt::format("<{0} {1}><title>{2}</title></{0}>\n", element, attributes, escaped(tooltip));
}

std::string class_of(std::string_view classes) { return classes.empty() ? "" : fmt::format(" class=\"{}\"", classes); }

// As few digits as tell ticks of this step apart.
std::string tick_text(double value, double step) {
  const int decimals = std::clamp(-static_cast<int>(std::floor(std::log10(step) + 1e-9)), 0, 8);
  return fmt::format("{:.{}f}", std::abs(value) < step * 1e-6 ? 0.0 : value, decimals);
}

// 1, 2 or 5 times a power of ten: about six of them are the range.
double step_for(double range) {
  const double rough = range / 6, power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power) return factor * power;
  }
  return 10 * power;
}

using Stops = std::array<std::array<int, 3>, 6>;
constexpr Stops kBlueStops = {{{0xe9, 0xf2, 0xfb},
                               {0xbb, 0xd7, 0xee},
                               {0x82, 0xb4, 0xde},
                               {0x45, 0x89, 0xc1},
                               {0x1f, 0x60, 0x9d},
                               {0x0b, 0x3a, 0x68}}};
constexpr Stops kAmberStops = {{{0xfd, 0xf4, 0xe3},
                                {0xf9, 0xd8, 0xa6},
                                {0xf2, 0xaf, 0x65},
                                {0xdc, 0x80, 0x37},
                                {0xb1, 0x54, 0x1d},
                                {0x73, 0x2f, 0x0d}}};

std::array<double, 3> mixed(Ramp ramp, double part) {
  const Stops& stops = ramp == Ramp::kBlue ? kBlueStops : kAmberStops;
  const double place = std::clamp(std::isfinite(part) ? part : 0, 0.0, 1.0) * static_cast<double>(stops.size() - 1);
  const size_t below = std::min(static_cast<size_t>(place), stops.size() - 2);
  const double weight = place - static_cast<double>(below);
  std::array<double, 3> rgb;
  for (size_t i = 0; i < 3; ++i) rgb[i] = (1 - weight) * stops[below][i] + weight * stops[below + 1][i];
  return rgb;
}

}  // namespace

void Drawing::text(double x, double y, std::string_view what, const char* classes, Anchor anchor) {
  body_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\"{} text-anchor=\"{}\">{}</text>\n", x, y, class_of(classes),
                       anchor_name(anchor), escaped(what));
}

void Drawing::coloured_text(double x, double y, std::string_view what, const char* fill) {
  body_ += fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"small\" style=\"fill:{}\" text-anchor=\"middle\" "
      "pointer-events=\"none\">{}</text>\n",
      x, y, fill, escaped(what));
}

void Drawing::vertical_text(double x, double y, std::string_view what, const char* classes) {
  body_ += fmt::format(
      "<text x=\"{0:.1f}\" y=\"{1:.1f}\"{2} text-anchor=\"middle\" transform=\"rotate(-90 {0:.1f} "
      "{1:.1f})\">{3}</text>\n",
      x, y, class_of(classes), escaped(what));
}

void Drawing::line(double x1, double y1, double x2, double y2, const char* classes) {
  body_ += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"{}/>\n", x1, y1, x2, y2,
                       class_of(classes));
}

void Drawing::polyline(const std::vector<std::pair<double, double>>& points, const std::string& classes) {
  std::string list;
  for (const auto& [x, y] : points) list += fmt::format("{}{:.1f},{:.1f}", list.empty() ? "" : " ", x, y);
  body_ += fmt::format("<polyline points=\"{}\"{}/>\n", list, class_of(classes));
}

void Drawing::rect(double x, double y, double width, double height, const std::string& classes, const std::string& fill,
                   std::string_view tooltip) {
  body_ += titled("rect",
                  fmt::format("x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\"{}{}", x, y, width, height,
                              class_of(classes), fill.empty() ? "" : fmt::format(" fill=\"{}\"", fill)),
                  tooltip);
}

void Drawing::circle(double x, double y, double radius, const std::string& classes, std::string_view tooltip) {
  body_ += titled("circle", fmt::format("cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\"{}", x, y, radius, class_of(classes)),
                  tooltip);
}

void Drawing::diamond(double x, double y, double radius, const std::string& classes, std::string_view tooltip) {
  body_ += titled("path",
                  fmt::format("d=\"M{0:.1f} {1:.1f}l{2:.1f} {2:.1f}l-{2:.1f} {2:.1f}l-{2:.1f} -{2:.1f}z\"{3}", x,
                              y - radius, radius, class_of(classes)),
                  tooltip);
}

std::string Drawing::html(double width, double height, double least, std::string_view caption) const {
  return fmt::format(
      "<figure style=\"flex:0 1 {0:.0f}px\">{1}<svg viewBox=\"0 0 {0:.0f} {2:.0f}\" role=\"img\" aria-label=\"{3}\" "
      "style=\"width:100%;max-width:{0:.0f}px;min-width:{4:.0f}px\">\n{5}</svg></figure>\n",
      width, caption.empty() ? "" : fmt::format("<figcaption>{}</figcaption>", escaped(caption)), height,
      escaped(name_), std::min(least, width), body_);
}

double text_width(std::string_view what) {
  // Continuation bytes of UTF-8 are no characters.
  const auto n = std::ranges::count_if(what, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
  return 6.9 * static_cast<double>(n);
}

size_t label_stride(double apart, double width) {
  for (size_t power = 1;; power *= 10) {
    for (const size_t factor : {1, 2, 5}) {
      if (static_cast<double>(factor * power) * apart >= width + 6) return factor * power;
    }
  }
}

Axis Axis::linear(double least, double most, double from, double to) {
  Axis axis;
  axis.from_ = from;
  axis.to_ = to;
  double range = most - least;
  if (!(range > 0)) range = least != 0 ? std::abs(least) / 5 : 1;
  axis.low_ = least - 0.06 * range;
  axis.high_ = most + 0.06 * range;
  if (least >= 0) axis.low_ = std::max(axis.low_, 0.0);
  const double step = step_for(axis.high_ - axis.low_);
  for (double i = std::ceil(axis.low_ / step); i * step <= axis.high_; ++i)
    axis.ticks_.push_back({i * step, tick_text(i * step, step)});
  return axis;
}

Axis Axis::from_zero(double most, double from, double to) {
  if (!(most > 0)) most = 1;
  const double step = step_for(most);
  Axis axis;
  axis.from_ = from;
  axis.to_ = to;
  axis.high_ = step * std::ceil(most / step - 1e-9);
  for (double i = 0; i * step <= axis.high_ * (1 + 1e-9); ++i)
    axis.ticks_.push_back({i * step, tick_text(i * step, step)});
  return axis;
}

Axis Axis::logarithmic(double least, double most, double from, double to) {
  Axis axis;
  axis.from_ = from;
  axis.to_ = to;
  axis.is_log_ = true;
  axis.low_ = std::log10(least) - 0.08;
  axis.high_ = std::log10(most) + 0.08;
  if (axis.high_ - axis.low_ < 0.7) {
    const double middle = (axis.low_ + axis.high_) / 2;
    axis.low_ = middle - 0.35;
    axis.high_ = middle + 0.35;
  }
  const double decades = axis.high_ - axis.low_;
  static constexpr double kFine[] = {1, 2, 5}, kMedium[] = {1, 3}, kCoarse[] = {1};
  const std::span<const double> factors = decades < 2     ? std::span<const double>(kFine)
                                          : decades < 3.5 ? std::span<const double>(kMedium)
                                                          : std::span<const double>(kCoarse);
  for (double power = std::floor(axis.low_); power <= axis.high_; ++power) {
    for (const double factor : factors) {
      const double place = power + std::log10(factor);
      if (place < axis.low_ || place > axis.high_) continue;
      const double value = factor * std::pow(10, power);
      axis.ticks_.push_back({value, fmt::format("{:.3g}", value)});
    }
  }
  return axis;
}

double Axis::at(double value) const {
  const double place = is_log_ ? std::log10(value) : value;
  return from_ + (to_ - from_) * std::clamp((place - low_) / (high_ - low_), 0.0, 1.0);
}

std::string colour(Ramp ramp, double part) {
  const auto rgb = mixed(ramp, part);
  return fmt::format("#{:02x}{:02x}{:02x}", static_cast<int>(std::lround(rgb[0])),
                     static_cast<int>(std::lround(rgb[1])), static_cast<int>(std::lround(rgb[2])));
}

const char* ink_on(Ramp ramp, double part) {
  const auto rgb = mixed(ramp, part);
  return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 140 ? "#14181c" : "#ffffff";
}

}  // namespace steelyard::report
