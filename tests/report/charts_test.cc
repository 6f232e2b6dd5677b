// Pictures: what is drawn is where its value belongs, and nothing is drawn for what is no number.
#include "report/charts.h"

#include <gmock/gmock.h>

#include <cmath>
#include <regex>

#include "report/heat_map.h"
#include "report/pages.h"

namespace steelyard::report {
namespace {

using testing::HasSubstr;
using testing::Not;

std::vector<double> numbers(const std::string& svg, const std::string& pattern) {
  std::vector<double> found;
  const std::regex regex(pattern);
  for (std::sregex_iterator at(svg.begin(), svg.end(), regex), end; at != end; ++at)
    found.push_back(std::stod((*at)[1]));
  return found;
}

TEST(Axes, PutValuesInProportion) {
  const Axis linear = Axis::from_zero(10, 100, 300);
  EXPECT_DOUBLE_EQ(linear.at(0), 100);
  EXPECT_DOUBLE_EQ(linear.at(5), 200);
  EXPECT_EQ(linear.ticks().front().text, "0");
  const Axis log = Axis::logarithmic(0.001, 10, 400, 0);
  EXPECT_NEAR(log.at(0.1) - log.at(1), log.at(0.01) - log.at(0.1), 1e-9);
  EXPECT_GT(log.at(0.001), log.at(10));
  EXPECT_EQ(log.ticks().front().text, "0.001");
}

TEST(Axes, OneValueHasAnAxisToo) {
  for (const double value : {0.0, 1e-9, 5.0, 1e12}) {
    EXPECT_GE(Axis::linear(value, value, 0, 100).ticks().size(), 2u) << value;
    EXPECT_TRUE(std::isfinite(Axis::linear(value, value, 0, 100).at(value)));
    EXPECT_GE(Axis::from_zero(value, 0, 100).ticks().size(), 2u) << value;
  }
  EXPECT_GE(Axis::logarithmic(0.3, 0.3, 0, 100).ticks().size(), 1u);
}

TEST(Ramps, AreLightToDark) {
  for (const Ramp ramp : {Ramp::kBlue, Ramp::kAmber}) {
    int before = 1000;
    for (double part = 0; part <= 1; part += 0.05) {
      const std::string hex = colour(ramp, part);
      const auto channel = [&](size_t at) { return std::stoi(hex.substr(at, 2), nullptr, 16); };
      const int light = 299 * channel(1) + 587 * channel(3) + 114 * channel(5);
      EXPECT_LT(light / 1000, before);
      before = light / 1000;
    }
    EXPECT_NE(std::string(ink_on(ramp, 0)), ink_on(ramp, 1));
    EXPECT_EQ(colour(ramp, std::nan("")), colour(ramp, 0));
  }
}

TEST(Charts, BarsAreAsLongAsTheirValues) {
  const std::string svg = bar_chart(
      {.name = "n", .labels = {"1", "2", "3"}, .series = {{"s", "fa", {1, 2, 0}}}, .mean = 1.0, .mean_label = "mean"});
  const std::vector<double> heights = numbers(svg, "height=\"([0-9.]+)\" class=\"fa\"");
  ASSERT_EQ(heights.size(), 3u);
  EXPECT_NEAR(heights[1], 2 * heights[0], 0.1);
  EXPECT_EQ(heights[2], 0);
  EXPECT_EQ(test::markup_error(svg), "");
}

TEST(Charts, SharesAreAsLongAsTheirValues) {
  const std::string svg =
      share_chart({.name = "n", .series = {"a", "b"}, .rows = {{"x", {0.75, 0.25}}, {"y", {0.25}}}});
  const std::vector<double> widths = numbers(svg, "width=\"([0-9.]+)\" height=\"12.00\"");
  ASSERT_EQ(widths.size(), 3u);
  EXPECT_NEAR(widths[0], 3 * widths[1], 0.1);
  EXPECT_NEAR(widths[1], widths[2], 0.1);
  EXPECT_EQ(test::markup_error(svg), "");
}

TEST(Charts, MarksAreWhereTheirValuesAre) {
  const auto chart = [](double a, double b, double c) {
    return line_chart({.name = "n",
                       .is_logarithmic = true,
                       .series = {{.name = "s", .points = {{.x = 0, .y = a}, {.x = 1, .y = b}, {.x = 2, .y = c}}}}});
  };
  const std::vector<double> y = numbers(chart(0.01, 0.1, 1), "cy=\"([0-9.]+)\"");
  ASSERT_EQ(y.size(), 3u);
  EXPECT_NEAR(y[0] - y[1], y[1] - y[2], 0.2);
  EXPECT_GT(y[0], y[1]);
  // What a logarithm does not have is left out.
  EXPECT_EQ(test::count(chart(0, std::nan(""), 1), "<circle"), 1u);
}

TEST(Charts, LabelsKeepApart) {
  LineChart chart{.name = "n", .series = {{.name = "s"}}};
  for (int i = 0; i < 5; ++i) chart.series[0].points.push_back({.x = 1, .y = 1 + 1e-4 * i, .label = "label"});
  chart.series[0].points.push_back({.x = 0, .y = 5});
  chart.series[0].points.push_back({.x = 9, .y = 0});
  std::vector<double> y = numbers(line_chart(chart), "y=\"([0-9.]+)\" class=\"halo\"");
  ASSERT_EQ(y.size(), 5u);
  std::ranges::sort(y);
  for (size_t i = 1; i < y.size(); ++i) EXPECT_GE(y[i] - y[i - 1], 12);
}

TEST(Charts, LabelsStayWhereNothingIsInTheWay) {
  LineChart chart{.name = "n", .series = {{.name = "s"}}};
  for (const double y : {2.0, 5.0, 5.01, 8.0}) chart.series[0].points.push_back({.x = 1, .y = y, .label = "label"});
  chart.series.push_back({.name = "range", .is_curve = true, .points = {{.x = 0, .y = 0}, {.x = 5, .y = 10}}});
  const std::string svg = line_chart(chart);
  const std::vector<double> labels = numbers(svg, "y=\"([0-9.]+)\" class=\"halo\""),
                            marks = numbers(svg, "cy=\"([0-9.]+)\"");
  ASSERT_EQ(labels.size(), 4u);
  ASSERT_EQ(marks.size(), 7u);  // with two of the curve and one of the legend
  EXPECT_NEAR(labels[0], marks[0] + 4, 0.2);
  EXPECT_NEAR(labels[3], marks[3] + 4, 0.2);
  EXPECT_NEAR((labels[1] + labels[2]) / 2, (marks[1] + marks[2]) / 2 + 4, 0.2);
  EXPECT_NEAR(labels[1] - labels[2], 15, 0.2);
}

TEST(Charts, NothingIsDrawnOfNothing) {
  EXPECT_EQ(line_chart({.name = "n"}), "");
  EXPECT_EQ(line_chart({.name = "n", .series = {{.points = {{.x = std::nan(""), .y = 1}}}}}), "");
  EXPECT_EQ(bar_chart({.name = "n"}), "");
  EXPECT_EQ(share_chart({.name = "n"}), "");
  EXPECT_EQ(dot_chart("n", "x", {}), "");
  EXPECT_EQ(dot_chart("n", "x", {{"median", 0}, {"largest", 0}}), "");
  EXPECT_EQ(heat_map({.name = "n"}), "");
  for (const std::string& svg :
       {bar_chart({.name = "n", .labels = {"1", "2"}, .series = {{"s", "fa", {std::nan(""), 0}}}}),
        dot_chart("n", "x", {{"median", 0}, {"broken", std::nan("")}, {"largest", 1}}),
        line_chart({.name = "n", .series = {{.points = {{.x = 1, .y = 0}}}}})}) {
    EXPECT_EQ(test::forbidden(svg), "");
    EXPECT_EQ(test::markup_error(svg), "");
  }
}

HeatMap map_of(std::vector<std::string> labels) {
  HeatMap map{.name = "n", .value_name = "v", .shares_labels = true, .rows = {{"kind", {}}}};
  for (size_t i = 0; i < labels.size(); ++i) {
    map.layers.push_back(static_cast<int64_t>(i));
    map.rows[0].cells.push_back(HeatCell{static_cast<double>(i), labels[i], "tip " + std::to_string(i)});
  }
  return map;
}

TEST(HeatMaps, EachCellHasItsColourAndTooltip) {
  const std::string svg = heat_map(map_of({"A", "B", "C"}));
  EXPECT_EQ(test::count(svg, "<title>tip "), 3u);
  EXPECT_THAT(svg, HasSubstr("fill=\"" + colour(Ramp::kBlue, 0) + "\"><title>tip 0"));
  EXPECT_THAT(svg, HasSubstr("fill=\"" + colour(Ramp::kBlue, 0.5) + "\"><title>tip 1"));
  EXPECT_THAT(svg, HasSubstr("fill=\"" + colour(Ramp::kBlue, 1) + "\"><title>tip 2"));
  EXPECT_EQ(test::markup_error(svg), "");
}

TEST(HeatMaps, NarrowNeighboursShareALabel) {
  std::vector<std::string> labels(92, "IQ2_XXS");
  labels[40] = "other";
  HeatMap map = map_of(labels);
  EXPECT_EQ(test::count(heat_map(map), ">IQ2_XXS<"), 2u);
  EXPECT_EQ(test::count(heat_map(map), "<title>tip "), 92u);
  EXPECT_THAT(heat_map(map), Not(HasSubstr(">other<")));
  map.shares_labels = false;
  EXPECT_THAT(heat_map(map), Not(HasSubstr(">IQ2_XXS<")));
  EXPECT_EQ(test::count(heat_map(map_of(std::vector<std::string>(4, "IQ2_XXS"))), ">IQ2_XXS<"), 4u);
}

TEST(HeatMaps, WhatIsNotThereOrNotKnownHasNoColour) {
  HeatMap map = map_of({"A", "B", "C"});
  map.rows[0].cells[0].reset();
  map.rows[0].cells[1]->value.reset();
  map.others = {{"outside", {HeatCell{std::nan(""), "?", "tip outside"}}}};
  const std::string svg = heat_map(map);
  EXPECT_EQ(test::count(svg, "<title>tip "), 3u);
  EXPECT_EQ(test::count(svg, "class=\"unknown\"><title>"), 2u);
  EXPECT_EQ(test::forbidden(svg), "");
}

TEST(HeatMaps, LogarithmsOfNothingAreTheLightest) {
  HeatMap map = map_of({"A", "B", "C"});
  map.is_logarithmic = true;  // of 0, 1 and 2
  const std::string svg = heat_map(map);
  EXPECT_THAT(svg, HasSubstr("fill=\"" + colour(Ramp::kBlue, 0) + "\"><title>tip 0"));
  EXPECT_THAT(svg, HasSubstr("fill=\"" + colour(Ramp::kBlue, 0) + "\"><title>tip 1"));
  EXPECT_THAT(svg, HasSubstr("fill=\"" + colour(Ramp::kBlue, 1) + "\"><title>tip 2"));
}

}  // namespace
}  // namespace steelyard::report
