// What a measurement of speed runs, what it makes of energy, and the picture of it. No figure of time is tested.
#include "measure/speed.h"

#include <gtest/gtest.h>

#include "gguf/reader.h"
#include "measure/speed_plot.h"
#include "support.h"

namespace steelyard::measure {
namespace {

// As many joules as it was asked.
class FakeMeter : public EnergyMeter {
 public:
  std::string name() const override { return "fake"; }
  double joules() override { return n_++; }

 private:
  int n_ = 0;
};

class Speed : public testing::Test {
 protected:
  const gguf::Reader reader_{test::golden("models/llama/model.gguf")};
  const std::unique_ptr<compute::Backend> backend_ = compute::make_backend("cpu");
  const model::Model model_{reader_, *backend_};
  EnergyMeters meters_;
};

TEST_F(Speed, RunsPromptAndDecoding) {
  schedule::Session session(model_, 24);
  const ContextSpeed speed = measure_speed(model_, session, 20, {4, 8, 2}, meters_);
  EXPECT_EQ(speed.n_context, 20);
  EXPECT_EQ(session.position(), 24);
  ASSERT_TRUE(speed.prefill && speed.decode);
  EXPECT_GT(speed.prefill->tokens_per_second, 0);
  EXPECT_GT(speed.decode->tokens_per_second, 0);
  EXPECT_DOUBLE_EQ(speed.first_token * speed.prefill->tokens_per_second, 20);
  EXPECT_FALSE(speed.prefill->watts);
  EXPECT_FALSE(speed.prefill->tokens_per_kwh());
}

TEST_F(Speed, PartsThatAreNotMeasured) {
  schedule::Session session(model_, 24);
  const ContextSpeed decode = measure_speed(model_, session, 0, {4, 8, 1}, meters_);
  EXPECT_FALSE(decode.prefill);
  EXPECT_TRUE(decode.decode);
  const ContextSpeed prefill = measure_speed(model_, session, 5, {0, 8, 1}, meters_);
  EXPECT_TRUE(prefill.prefill);
  EXPECT_FALSE(prefill.decode);
  EXPECT_GT(prefill.first_token, 0);
}

// Readings: before, after each of 3 batches or 4 tokens, after.
TEST_F(Speed, EnergyOfEachStretch) {
  meters_.meters.push_back(std::make_unique<FakeMeter>());
  schedule::Session session(model_, 24);
  const ContextSpeed speed = measure_speed(model_, session, 20, {4, 8, 1}, meters_);
  ASSERT_TRUE(speed.prefill->watts && speed.decode->watts);
  EXPECT_NEAR(*speed.prefill->watts * speed.first_token, 4, 1e-9);
  const double seconds = 4 / speed.decode->tokens_per_second;
  EXPECT_NEAR(*speed.decode->watts * seconds, 5, 1e-9);
  EXPECT_NEAR(*speed.decode->tokens_per_kwh(), 4 / (5 / 3.6e6), 1e-3);
}

TEST(SpeedPlot, DrawsEveryFigure) {
  const std::vector<ContextSpeed> speeds = {{0, 0, {}, Rate{61.5, {}}},
                                            {4096, 4, Rate{1012, {}}, Rate{50.25, {}}},
                                            {131072, 300, Rate{437.4, {}}, Rate{12.5, {}}}};
  const std::string svg = speed_plot(speeds, "a<b>&c\n.gguf", "cpu");
  EXPECT_TRUE(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
  for (const char* part :
       {">1012<", ">437<", ">61.5<", ">50.2<", ">12.5<", ">0<", ">4K<", ">128K<", "a&lt;b&gt;&amp;c\\x0a.gguf"}) {
    EXPECT_NE(svg.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

TEST(SpeedPlot, FewFigures) {
  for (const std::vector<ContextSpeed>& speeds : {std::vector<ContextSpeed>{{0, 0, {}, Rate{3, {}}}},
                                                  {{512, 1, Rate{0.02, {}}, {}}},
                                                  {{1, 1, Rate{1e7, {}}, {}}}}) {
    const std::string svg = speed_plot(speeds, "", "");
    EXPECT_EQ(svg.find("nan"), std::string::npos);
    EXPECT_EQ(svg.find("inf"), std::string::npos);
  }
}

}  // namespace
}  // namespace steelyard::measure
