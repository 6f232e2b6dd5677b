#include "measure/speed_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "base/error.h"
#include "base/markup.h"

namespace steelyard::measure {
namespace {

constexpr double kWidth = 760, kHeight = 560, kLeft = 84, kRight = 28, kTop = 78, kPanel = 170, kGap = 66;

std::string escaped(const std::string& text) { return marked_up(printable(text)); }

// 4096 as 4K.
std::string context_name(int64_t n) {
  return n > 0 && n % 1024 == 0 ? fmt::format("{}K", n / 1024) : fmt::format("{}", n);
}

// 1, 2 or 5 times a power of ten: at most five steps reach `most`.
double step_for(double most) {
  const double rough = most / 5, power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power) return factor * power;
  }
  return 10 * power;
}

struct Point {
  int64_t context;
  double value;
};

// Contexts are drawn by their logarithm; an empty one stands where half the shortest other one would.
class Axis {
 public:
  explicit Axis(std::span<const ContextSpeed> speeds) {
    int64_t shortest = 0;
    for (const ContextSpeed& speed : speeds) {
      if (speed.n_context > 0 && shortest == 0) shortest = speed.n_context;
    }
    empty_ = std::log2(static_cast<double>(std::max<int64_t>(shortest, 2)) / 2);
    low_ = place(speeds.front().n_context);
    high_ = place(speeds.back().n_context);
  }
  double x(int64_t context) const {
    const double part = high_ > low_ ? (place(context) - low_) / (high_ - low_) : 0.5;
    constexpr double kMargin = 24;
    return kLeft + kMargin + part * (kWidth - kLeft - kRight - 2 * kMargin);
  }

 private:
  double place(int64_t context) const { return context > 0 ? std::log2(static_cast<double>(context)) : empty_; }
  double empty_, low_, high_;
};

std::string text(double x, double y, const char* style, const std::string& content) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, style, escaped(content));
}

// One curve in a frame with a grid, values from 0.
std::string panel(double top, const std::string& name, const char* colour, const std::vector<Point>& points,
                  std::span<const ContextSpeed> speeds, const Axis& axis) {
  std::string out = text(kLeft, top - 12, "class=\"name\"", name);
  double most = 0;
  for (const Point& point : points) most = std::max(most, point.value);
  most = most > 0 ? 1.12 * most : 1;  // room for the name of the highest point
  const double step = step_for(most), limit = step * std::ceil(most / step);
  const auto y = [&](double value) { return top + kPanel * (1 - value / limit); };
  for (double tick = 0; tick <= limit * 1.0001; tick += step) {
    out += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n", kLeft, y(tick),
                       kWidth - kRight, y(tick), tick == 0 ? "axis" : "grid");
    out += text(kLeft - 8, y(tick) + 4, "class=\"tick\" text-anchor=\"end\"", fmt::format("{:g}", tick));
  }
  double free_from = 0;  // names of contexts keep apart
  for (const ContextSpeed& speed : speeds) {
    const double x = axis.x(speed.n_context);
    out += fmt::format("<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" class=\"axis\"/>\n", x,
                       top + kPanel, top + kPanel + 5);
    if (x < free_from) continue;
    free_from = x + 40;
    out += text(x, top + kPanel + 19, "class=\"tick\" text-anchor=\"middle\"", context_name(speed.n_context));
  }
  std::string line;
  for (const Point& point : points) line += fmt::format("{:.1f},{:.1f} ", axis.x(point.context), y(point.value));
  out += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n", line, colour);
  for (const Point& point : points) {
    out += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", axis.x(point.context),
                       y(point.value), colour);
    out += text(axis.x(point.context), y(point.value) - 9, "class=\"value\" text-anchor=\"middle\"",
                point.value >= 100 ? fmt::format("{:.0f}", point.value) : fmt::format("{:.1f}", point.value));
  }
  return out;
}

}  // namespace

std::string speed_plot(std::span<const ContextSpeed> speeds, const std::string& title, const std::string& subtitle) {
  STEELYARD_CHECK(!speeds.empty());
  const Axis axis(speeds);
  std::vector<Point> prefill, decode;
  for (const ContextSpeed& speed : speeds) {
    if (speed.prefill) prefill.push_back({speed.n_context, speed.prefill->tokens_per_second});
    if (speed.decode) decode.push_back({speed.n_context, speed.decode->tokens_per_second});
  }
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
      "font-family=\"sans-serif\">\n"
      "<style>.title{{font-size:17px;font-weight:bold;fill:#222}}.sub{{font-size:12px;fill:#666}}"
      ".name{{font-size:13px;font-weight:bold;fill:#333}}.tick{{font-size:11px;fill:#666}}"
      ".value{{font-size:11px;fill:#222;paint-order:stroke;stroke:white;stroke-width:3px}}"
      ".grid{{stroke:#e4e4e4;stroke-width:1}}.axis{{stroke:#888;stroke-width:1}}</style>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      kWidth, kHeight);
  out += text(kLeft, 26, "class=\"title\"", title) + text(kLeft, 45, "class=\"sub\"", subtitle);
  out += panel(kTop + 4, "Prompt, tokens per second", "#1f6fb4", prefill, speeds, axis);
  out += panel(kTop + kPanel + kGap, "Decoding after it, tokens per second", "#c2571a", decode, speeds, axis);
  out += text((kLeft + kWidth - kRight) / 2, kHeight - 14, "class=\"sub\" text-anchor=\"middle\"",
              "tokens of context (logarithmic)");
  return out + "</svg>\n";
}

}  // namespace steelyard::measure
