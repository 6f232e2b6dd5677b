// One-pass quantization of a small model: the moments are those of its inputs, and what is rounded loses less. Parts
// have tests of their own: rounding_choice_test.cc, layer_stages_test.cc, input_statistics_test.cc.
#include "calibrate/calibrated_layers.h"

#include <gtest/gtest.h>

#include <random>

#include "compute/cpu/cpu_backend.h"
#include "gguf/reader.h"
#include "golden_models.h"
#include "plan/plan.h"
#include "support.h"
#include "thread_ranks.h"

namespace steelyard::calibrate {
namespace {

// Collects the sums over squares, which are the diagonal of the moments.
class Diagonals : public compute::MatmulObserver {
 public:
  void dense(compute::Backend& backend, const compute::Weight& weight, int64_t slice, compute::Matrix x) override {
    std::vector<double>& own = of(weight, x);
    backend.sum_squares(x, own.data() + slice * x.cols);
  }
  void experts(compute::Backend& backend, const compute::Weight& weight, compute::Matrix x,
               const compute::Routing& routing) override {
    std::vector<int64_t> counts(static_cast<size_t>(weight.n_slices));
    backend.sum_squares_experts(x, routing, of(weight, x).data(), counts.data());
  }
  std::map<std::string, std::vector<double>> sums;

 private:
  std::vector<double>& of(const compute::Weight& weight, compute::Matrix x) {
    std::vector<double>& own = sums[weight.name];
    own.resize(static_cast<size_t>(weight.n_slices * x.cols));
    return own;
  }
};

class Calibrated : public testing::Test {
 protected:
  static constexpr int64_t kContext = 64;

  static std::vector<int32_t> tokens() {
    std::mt19937 random(1);
    std::vector<int32_t> ids(64 * kContext);
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % 256);
    return ids;
  }

  const gguf::Reader source_{test::golden("imatrix/deepseek2_k256/model.gguf")};
  std::unique_ptr<compute::Backend> backend_ = compute::make_backend("cpu");
  const model::Model model_{source_, *backend_};
  const tokenizer::Chunks chunks_{tokens(), kContext, 0, std::nullopt, "text"};
};

TEST_F(Calibrated, MomentsHaveTheSumsOfSquaresOnTheirDiagonal) {
  schedule::LayerSweep sweep(model_, kContext, [&](int64_t c) { return chunks_.input(c); });
  sweep.start(0, chunks_.count());
  for (int i = 0; i < model_.n_layers(); ++i) {
    const model::Layer layer = model_.layer(i, kContext);
    HessianCollector hessians;
    Diagonals squares;
    sweep.watch(layer, model::LayerPart::kWhole, 0, chunks_.count(), hessians);
    sweep.watch(layer, model::LayerPart::kWhole, 0, chunks_.count(), squares);
    sweep.advance(layer);
    const auto taken = hessians.take(*backend_);
    ASSERT_EQ(taken.size(), squares.sums.size());
    for (const auto& [name, sums] : squares.sums) {
      const SliceHessians& own = *taken.at(name);
      for (int64_t s = 0; s < own.n_slices(); ++s) {
        const SliceSums of_slice = own.of_slice(s);
        for (int64_t c = 0; c < own.n(); ++c) {
          const double expected = sums[static_cast<size_t>(s * own.n() + c)];
          ASSERT_NEAR(of_slice.hessian[static_cast<size_t>(c * own.n() + c)], expected, 1e-4 * expected + 1e-9) << name;
        }
      }
    }
  }
}

TEST_F(Calibrated, EveryLinearIsCoveredAndFeedbackLosesLess) {
  const plan::Plan plan = plan::Plan::parse("_exps = IQ3_S\n* = Q4_K\n", "test");
  const plan::Resolution resolution = resolve(plan, source_.tensors());
  CalibratedLayers layers(source_, resolution, model_);
  layers.start(chunks_, {});
  size_t n_encoded = 0;
  for (const plan::Decision& decision : resolution.decisions) {
    const auto bytes = layers.encode(decision);
    EXPECT_EQ(bytes.has_value(), layers.covers(decision)) << decision.tensor->name;
    if (!bytes) continue;
    EXPECT_EQ(bytes->size(), decision.bytes);
    ++n_encoded;
  }
  ASSERT_EQ(layers.reports().size(), n_encoded);
  double ldlq = 0.0, diagonal = 0.0;
  for (const RoundingReport& report : layers.reports()) {
    ldlq += report.loss[static_cast<size_t>(Rounding::kLdlq)];
    diagonal += report.loss[static_cast<size_t>(Rounding::kDiagonal)];
  }
  EXPECT_LT(ldlq, diagonal);
}

TEST_F(Calibrated, HalfOfTheTextLosesMore) {
  const plan::Resolution resolution = resolve(plan::Plan::parse("* = Q4_K\n", "test"), source_.tensors());
  CalibratedLayers layers(source_, resolution, model_);
  layers.start(chunks_, {});
  EXPECT_EQ(layers.half_over_all(), 0.0);  // nothing is known yet
  for (const plan::Decision& decision : resolution.decisions) layers.encode(decision);
  EXPECT_GT(layers.half_over_all(), 1.0);
}

// The text's hidden states in a scratch file, all but one chunk of each model.
TEST_F(Calibrated, BytesDoNotDependOnMemory) {
  const test::TempFolder folder;
  const plan::Plan plan =
      plan::Plan::parse("ffn_gate_exps = IQ3_S\nattn_q_a = Q4_K\nffn_up = Q4_K\n* = keep\n", "test");
  const plan::Resolution resolution = resolve(plan, source_.tensors());
  const tokenizer::Chunks few(tokens(), kContext, 16, std::nullopt, "text");
  CalibrationSettings spilling;
  spilling.sweep.hidden_state_bytes = sizeof(float) * static_cast<uint64_t>(kContext * model_.config().hidden_width());
  spilling.sweep.scratch_folder = folder / "";
  // And statistics: with room for one slice, all else goes to the scratch file; with room for some, some of it.
  CalibrationSettings storing = spilling, keeping = spilling;
  storing.stage_memory.assign(static_cast<size_t>(model_.n_layers()), 0);
  keeping.stage_memory.assign(static_cast<size_t>(model_.n_layers()), uint64_t{24} << 20);
  CalibratedLayers in_memory(source_, resolution, model_);
  in_memory.start(few, {});
  std::vector<std::optional<std::vector<std::byte>>> expected;
  for (const plan::Decision& decision : resolution.decisions) expected.push_back(in_memory.encode(decision));
  for (const CalibrationSettings& settings : {spilling, storing, keeping}) {
    CalibratedLayers spilled(source_, resolution, model_);
    spilled.start(few, settings);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(spilled.encode(resolution.decisions[i]), expected[i]) << resolution.decisions[i].tensor->name;
    }
    ASSERT_EQ(in_memory.reports().size(), spilled.reports().size());
    for (size_t i = 0; i < spilled.reports().size(); ++i) {
      EXPECT_EQ(in_memory.reports()[i].name, spilled.reports()[i].name);
      EXPECT_EQ(in_memory.reports()[i].chosen, spilled.reports()[i].chosen);
    }
    EXPECT_EQ(in_memory.half_over_all(), spilled.half_over_all());
    EXPECT_GT(spilled.reports().size(), 3u);
  }
}

// Counts how often a weight comes into the backend's memory.
class LoadCounter : public compute::CpuBackend {
 public:
  LoadCounter() : compute::CpuBackend(compute::Precision::kExact) {}
  compute::Weight load(compute::Weight host) override {
    ++loads[host.name];
    return compute::CpuBackend::load(std::move(host));
  }
  std::map<std::string, int> loads;
};

TEST_F(Calibrated, WeightsAreLoadedOnceAndWhatIsRoundedOnceMore) {
  LoadCounter backend;
  const model::Model model(source_, backend);
  const plan::Resolution resolution =
      resolve(plan::Plan::parse("ffn_gate_exps = IQ3_S\nattn_q_a = Q4_K\n* = keep\n", "test"), source_.tensors());
  const tokenizer::Chunks few(tokens(), kContext, 16, std::nullopt, "text");
  CalibratedLayers layers(source_, resolution, model);
  layers.start(few, {});
  for (const plan::Decision& decision : resolution.decisions) layers.encode(decision);
  EXPECT_GT(layers.reports().size(), 2u);
  for (const RoundingReport& report : layers.reports()) {
    EXPECT_EQ(backend.loads.at(report.name), 2) << report.name;
    backend.loads.erase(report.name);
  }
  for (const auto& [name, n] : backend.loads) EXPECT_EQ(n, 1) << name;
}

// With room for nothing but a slice at a time, inputs of experts are stored; with a little more, some sums are kept.
class ExpertsOfEveryArchitecture : public testing::TestWithParam<std::string> {
 public:
  static std::vector<std::string> with_experts() {
    std::vector<std::string> names;
    for (const std::string& name : test::golden_models()) {
      const gguf::Reader reader(test::golden("models/" + name + "/model.gguf"), gguf::ReadMode::kHeader);
      const auto routed = [](const gguf::TensorInfo& tensor) {
        return tensor.name.find("_exps.") != std::string::npos && tensor.ne[0] % 32 == 0;  // rows of whole blocks
      };
      if (std::ranges::any_of(reader.tensors(), routed)) names.push_back(name);
    }
    return names;
  }
};

TEST_P(ExpertsOfEveryArchitecture, BytesDoNotDependOnMemory) {
  const gguf::Reader source(test::golden("models/" + GetParam() + "/model.gguf"));
  const auto backend = compute::make_backend("cpu");
  const model::Model model(source, *backend);
  const plan::Resolution resolution = resolve(plan::Plan::parse("_exps = Q4_0\n* = keep\n", "test"), source.tensors());
  constexpr int64_t kChunk = 32;
  std::mt19937 random(1);
  std::vector<int32_t> ids(24 * kChunk);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % 64);
  const tokenizer::Chunks chunks(ids, kChunk, 0, std::nullopt, "text");
  const test::TempFolder folder;
  std::vector<std::vector<std::optional<std::vector<std::byte>>>> encoded;
  for (const uint64_t memory : {UINT64_MAX, uint64_t{0}, uint64_t{900'000}}) {
    CalibrationSettings settings;
    settings.sweep.n_batch = 4 * kChunk;
    settings.sweep.scratch_folder = folder / "";
    settings.stage_memory.assign(static_cast<size_t>(model.n_layers()), memory);
    CalibratedLayers layers(source, resolution, model);
    layers.start(chunks, settings);
    auto& tensors = encoded.emplace_back();
    for (const plan::Decision& decision : resolution.decisions) tensors.push_back(layers.encode(decision));
    EXPECT_FALSE(layers.reports().empty());
  }
  EXPECT_TRUE(encoded[1] == encoded[0]);
  EXPECT_TRUE(encoded[2] == encoded[0]);
}

INSTANTIATE_TEST_SUITE_P(Goldens, ExpertsOfEveryArchitecture,
                         testing::ValuesIn(ExpertsOfEveryArchitecture::with_experts()),
                         [](const testing::TestParamInfo<std::string>& model) {
                           std::string name = model.param;
                           std::ranges::replace_if(
                               name, [](char c) { return std::isalnum(c) == 0; }, '_');
                           return name;
                         });

// Ranks share batches, sums and slices; what comes out is that of one process. Also where inputs are stored, and where
// an interrupted run has finished the first layer.
TEST_F(Calibrated, BytesDoNotDependOnRanks) {
  const test::TempFolder folder;
  const plan::Plan plan = plan::Plan::parse("_exps = IQ3_S\nattn = Q4_K\nffn_up = Q4_K\n* = keep\n", "test");
  const plan::Resolution resolution = resolve(plan, source_.tensors());
  const tokenizer::Chunks few(tokens(), kContext, 19, std::nullopt, "text");
  CalibrationSettings settings, storing;
  settings.sweep.n_batch = storing.sweep.n_batch = 2 * kContext;
  storing.stage_memory.assign(static_cast<size_t>(model_.n_layers()), 0);
  storing.sweep.scratch_folder = folder / "";
  CalibratedLayers alone(source_, resolution, model_);
  alone.start(few, settings);
  std::vector<std::optional<std::vector<std::byte>>> expected;
  for (const plan::Decision& decision : resolution.decisions) expected.push_back(alone.encode(decision));

  struct Run {
    int n_ranks;
    bool stores, goes_on;
  };
  for (const Run& run : {Run{2, false, false}, Run{3, true, false}, Run{3, false, true}, Run{5, false, false}}) {
    SCOPED_TRACE(run.n_ranks);
    test::in_ranks(run.n_ranks, [&](cluster::Ranks& ranks) {
      const gguf::Reader source(source_.path());
      const std::unique_ptr<compute::Backend> backend = compute::make_backend("cpu");
      const model::Model model(source, *backend);
      const plan::Resolution own = resolve(plan, source.tensors());
      CalibrationSettings shared = run.stores ? storing : settings;
      shared.ranks = &ranks;
      CalibratedLayers layers(source, own, model);
      layers.start(few, shared);
      if (!ranks.leads()) return layers.follow();
      const auto is_first = [&](size_t i) { return own.decisions[i].tensor->name.starts_with("blk.0."); };
      for (size_t i = 0; run.goes_on && i < expected.size(); ++i) {
        if (is_first(i) && expected[i]) layers.finished(own.decisions[i], *expected[i]);
      }
      for (size_t i = 0; i < expected.size(); ++i) {
        if (run.goes_on && is_first(i)) continue;
        EXPECT_EQ(layers.encode(own.decisions[i]), expected[i]) << own.decisions[i].tensor->name;
      }
      layers.release();
      if (run.goes_on) return;
      ASSERT_EQ(layers.reports().size(), alone.reports().size());
      for (size_t i = 0; i < alone.reports().size(); ++i) {
        EXPECT_EQ(layers.reports()[i].name, alone.reports()[i].name);
        EXPECT_EQ(layers.reports()[i].chosen, alone.reports()[i].chosen);
        EXPECT_EQ(layers.reports()[i].loss, alone.reports()[i].loss);
      }
      EXPECT_EQ(layers.half_over_all(), alone.half_over_all());
    });
  }
}

}  // namespace
}  // namespace steelyard::calibrate
