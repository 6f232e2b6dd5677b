// A search as a job: the plan fits and is not worse, estimates agree with what is measured, nothing is left behind.
#include "jobs/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "base/atomic_file.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "jobs/fit.h"
#include "jobs/imatrix.h"
#include "jobs/perplexity.h"
#include "jobs/quantize.h"
#include "jobs/search_options.h"
#include "plan/plan.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

class SearchTest : public testing::Test {
 protected:
  // For a quarter more bytes than all in `start`.
  SearchOptions options(const std::string& golden_model, const std::string& start = "Q4_0") const {
    return small_search(golden_model, folder_, start, "Q4_0,Q4_1,Q5_0,Q5_1,Q8_0");
  }
  std::set<std::string> names() const {
    std::set<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / ".")) found.insert(entry.path().filename());
    return found;
  }
  static const SearchMeasurement& chosen(const SearchResult& result) {
    return *std::ranges::find(result.measured, result.chosen, &SearchMeasurement::plan);
  }

  const test::TempFolder folder_;
};

TEST_F(SearchTest, FindsAPlanThatFitsAndIsBetter) {
  for (const std::string model : {"llama", "deepseek3", "gpt-oss"}) {
    const SearchOptions search_options = options(model);
    const SearchResult result = search(search_options);
    EXPECT_EQ(names(), (std::set<std::string>{"found.plan"})) << model;
    EXPECT_EQ(result.measured.front().plan, "start");
    EXPECT_NE(result.chosen, "start") << model;  // a quarter more bytes
    EXPECT_LT(chosen(result).divergence, result.measured.front().divergence) << model;
    EXPECT_LE(result.bytes, result.budget) << model;
    PlanOptions plan_options;
    plan_options.model = search_options.model;
    plan_options.source.plan = search_options.output;
    EXPECT_EQ(plan(plan_options).total_bytes, result.bytes) << model;
  }
}

TEST_F(SearchTest, ASizeIsThatOfTheWholeFile) {
  SearchOptions search_options = options("llama");
  search_options.bpw = 0;
  search_options.size = std::filesystem::file_size(search_options.model) / 4;
  search(search_options);
  QuantizeOptions quantize_options{.model = search_options.model, .output = folder_ / "q.gguf", .threads = 2};
  quantize_options.source.plan = search_options.output;
  quantize_options.calibrate = search_options.text.file;
  quantize_options.shaping.ctx_size = 64;
  quantize_options.shaping.chunks = 24;
  quantize(quantize_options);
  EXPECT_LE(std::filesystem::file_size(quantize_options.output), search_options.size);
}

// What was measured for one size serves another, which tries nothing again.
TEST_F(SearchTest, GoesOnFromWhatWasMeasured) {
  for (const std::string model : {"llama", "deepseek3"}) {
    SearchOptions search_options = options(model);
    search_options.resume = folder_ / "state";
    std::filesystem::remove(search_options.resume);
    int n_calibrated = 0;
    const ProgressCallback count = [&](const Progress& at) { n_calibrated += at.stage == "calibrate"; };
    search(search_options, count);
    const std::string found = test::read_text(search_options.output);
    EXPECT_GT(n_calibrated, 0);

    n_calibrated = 0;
    search(search_options, count);
    EXPECT_EQ(n_calibrated, 0) << model;
    EXPECT_EQ(test::read_text(search_options.output), found) << model;

    search_options.bpw *= 1.1;
    search(search_options, count);
    const std::string larger = test::read_text(search_options.output);
    EXPECT_GT(n_calibrated, 0) << model;
    EXPECT_NE(larger, found) << model;
    search_options.resume.clear();
    search(search_options);
    EXPECT_EQ(test::read_text(search_options.output), larger) << model;
  }
}

// A stopped run leaves a file with some tensors; without the progress that belongs to it they are tried again.
TEST_F(SearchTest, AFileWithoutItsProgressIsBegunAnew) {
  SearchOptions search_options = options("llama");
  search_options.resume = folder_ / "state";
  const SearchResult whole = search(search_options);
  const std::string found = test::read_text(search_options.output);
  std::filesystem::remove(search_options.resume);
  bool waited = false;
  const ProgressCallback stop = [&](const Progress& at) {
    if (at.item.starts_with("layer 1 ") && !std::exchange(waited, true)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));  // so that the next tensor is recorded
    } else if (at.item.starts_with("layer 2 ")) {
      throw std::runtime_error("stopped");
    }
  };
  EXPECT_THROW(search(search_options, stop), std::runtime_error);
  EXPECT_THAT(names(), testing::Contains(testing::EndsWith(".journal")));
  std::filesystem::remove(search_options.resume);
  EXPECT_EQ(search(search_options).sensitivities.size(), whole.sensitivities.size());
  EXPECT_EQ(test::read_text(search_options.output), found);
  EXPECT_EQ(names(), (std::set<std::string>{"found.plan", "state"}));
}

TEST_F(SearchTest, FilesOfTheUserThatBeginAlikeStay) {
  SearchOptions search_options = options("llama");
  search_options.rounds = 1;
  search_options.resume = search_options.output + ".search.state";
  search_options.report = search_options.output + ".search.html";
  write_file(search_options.output + ".search.planned", "mine");
  search(search_options);
  EXPECT_EQ(names(), (std::set<std::string>{"found.plan", "found.plan.search.html", "found.plan.search.planned",
                                            "found.plan.search.state"}));
}

TEST_F(SearchTest, RefusesTheProgressOfAnotherSearch) {
  SearchOptions search_options = options("llama");
  search_options.resume = folder_ / "state";
  search_options.rounds = 1;
  search(search_options);
  search_options.types = "Q4_0,Q8_0";
  EXPECT_THAT(test::error_of([&] { search(search_options); }), HasSubstr("another model, text"));
  write_file(search_options.resume, "nonsense");
  EXPECT_THAT(test::error_of([&] { search(search_options); }), HasSubstr("is not the progress of a search"));
}

// With an importance matrix, files are made without calibration, and so are those that a plan is used for.
TEST_F(SearchTest, WithAnImatrixItIsThatRoundingWhichIsMeasured) {
  SearchOptions search_options = options("deepseek3");
  ImatrixOptions imatrix;
  imatrix.model.model = search_options.model;
  imatrix.text = search_options.text;
  imatrix.output_file = folder_ / "imatrix.gguf";
  search_options.imatrix = imatrix.output_file;
  jobs::imatrix(imatrix);
  const SearchResult result = search(search_options);
  EXPECT_NE(result.chosen, "start");
  EXPECT_LT(chosen(result).divergence, result.measured.front().divergence);
  SearchOptions calibrated = search_options;
  calibrated.imatrix.clear();
  const SearchResult other = search(calibrated);
  EXPECT_NE(result.measured.front().divergence, other.measured.front().divergence);
  EXPECT_EQ(names(), (std::set<std::string>{"found.plan", "imatrix.gguf"}));
}

// The embedding and the output are most of a small model, and have types to choose like others.
TEST_F(SearchTest, TensorsOutsideOfLayersAreMeasured) {
  for (const std::string model : {"llama", "gemma3", "deepseek3"}) {
    const SearchOptions search_options = options(model);
    const SearchResult result = search(search_options);
    const gguf::Reader reader(search_options.model, gguf::ReadMode::kHeader);
    for (const std::string tensor : {"token_embd.weight", "output.weight"}) {
      if (reader.find(tensor) == nullptr) continue;
      std::map<uint64_t, double> losses;  // by bytes
      for (const Sensitivity& at : result.sensitivities)
        if (at.tensor == tensor) losses[at.bytes] = at.smooth + std::sqrt(at.jumps);
      ASSERT_EQ(losses.size(), 5) << model << " " << tensor;
      EXPECT_GT(losses.begin()->second, losses.rbegin()->second) << model << " " << tensor;
    }
  }
}

// What is demanded of the types is so in the plan that is written, and in what it starts from.
TEST_F(SearchTest, FixedTypesTiesAndFewRulesAreInThePlan) {
  SearchOptions search_options = options("deepseek3");
  search_options.rounds = 1;
  search_options.steering = {.fix = {"blk.{1}.ffn_(gate|up)_exps=Q8_0", "attn_output=Q5_1"}, .tie = true, .simple = 6};
  const SearchResult result = search(search_options);
  EXPECT_EQ(result.chosen, "proposal 1");
  EXPECT_LE(result.bytes, result.budget);
  ASSERT_TRUE(result.limit.has_value());
  EXPECT_LE(result.limit->rules, 6);
  EXPECT_GE(result.limit->divergence, result.limit->divergence_without);
  EXPECT_LE(plan::Plan::load(search_options.output).rules().size() + 1, 6u);
  PlanOptions plan_options;
  plan_options.model = search_options.model;
  plan_options.source.plan = search_options.output;
  std::map<std::string, std::string> types;
  for (const PlannedTensor& tensor : plan(plan_options).tensors) types[tensor.name] = tensor.type;
  EXPECT_EQ(types.at("blk.1.ffn_gate_exps.weight"), "Q8_0");
  for (const std::string layer : {"blk.0.", "blk.1.", "blk.2."})
    EXPECT_EQ(types.at(layer + "attn_output.weight"), "F16");
  for (const auto& [name, type] : types) {
    const size_t at = name.find("ffn_gate");
    if (at == std::string::npos || !name.ends_with(".weight") || name.ends_with("_inp.weight")) continue;
    EXPECT_EQ(types.at(std::string(name).replace(at, 8, "ffn_up")), type) << name;
  }
}

TEST_F(SearchTest, DevicesAreFilledAsFitSays) {
  for (const bool two : {false, true}) {
    SearchOptions search_options = options("llama");
    FitOptions fit_options{.model = search_options.model, .ctx_size = 64, .devices = {.vram = "1GiB", .reserve = 0}};
    if (two) fit_options.devices.vram = "1GiBx2";
    fit_options.source.type = "Q4_1";
    const FitResult start = fit(fit_options);
    search_options.bpw = 0;
    search_options.rounds = 1;
    search_options.devices = fit_options.devices;
    search_options.devices.vram = "";
    for (const FitDevice& device : start.devices)
      search_options.devices.vram +=
          (search_options.devices.vram.empty() ? "" : ",") + std::to_string(device.needed + device.weights / 5);
    const SearchResult result = search(search_options);
    EXPECT_EQ(names(), (std::set<std::string>{"found.plan"}));
    EXPECT_NE(result.chosen, "start");
    ASSERT_EQ(result.devices.size(), two ? 2u : 1u);
    const bool is_preset = !result.chosen.starts_with("proposal");
    EXPECT_EQ(result.tensor_split.size(), two && !is_preset ? 2u : 0u);
    EXPECT_LE(result.measured.back().bytes, result.budget);
    EXPECT_GE(static_cast<double>(result.measured.back().bytes), 0.98 * static_cast<double>(result.budget));
    fit_options.devices = search_options.devices;
    fit_options.devices.placement.tensor_split = result.tensor_split;
    fit_options.source = {.plan = search_options.output};
    const FitResult found = fit(fit_options);
    EXPECT_TRUE(found.fits);
    for (size_t d = 0; d < found.devices.size(); ++d) {
      EXPECT_EQ(found.devices[d].needed, result.devices[d].needed);
    }
  }
}

// The context of devices is not that of the text.
TEST_F(SearchTest, ChunksAreShortWhateverDevicesHold) {
  SearchOptions search_options;
  search_options.text.ctx_size = 16384;
  EXPECT_EQ(search_options.chunk_size(), 16384);
  search_options.devices.vram = "16GiB";
  EXPECT_EQ(search_options.chunk_size(), 512);
  search_options.text.ctx_size = 64;
  EXPECT_EQ(search_options.chunk_size(), 64);
}

// Such a type is refused where nothing is known of a tensor's inputs.
TEST_F(SearchTest, TypesThatNeedImportanceAreNoChoiceOutsideOfLayers) {
  SearchOptions search_options = options("llama");
  search_options.model = test::golden("imatrix/deepseek2_k256/model.gguf");
  search_options.types = "IQ2_XXS,IQ3_XXS,Q4_K,Q8_0";
  search_options.source.type = "Q4_K";
  search_options.bpw = 5.2;
  const SearchResult result = search(search_options);
  std::set<std::string> types;
  for (const Sensitivity& at : result.sensitivities)
    if (at.tensor == "output.weight") types.insert(at.type);
  EXPECT_EQ(types, (std::set<std::string>{"Q4_K", "Q8_0"}));
}

// There is nothing to gain: all is in the largest type, and the preset is the same.
TEST_F(SearchTest, WhereNothingIsBetterTheStartPlanIsWritten) {
  SearchOptions search_options = options("llama", "Q8_0");
  const SearchResult result = search(search_options);
  EXPECT_EQ(result.chosen, "start");
  EXPECT_EQ(result.bytes, result.measured.front().bytes);
}

TEST_F(SearchTest, IsTheSameForAnyNumberOfThreads) {
  SearchOptions search_options = options("deepseek3");
  search(search_options);
  const std::string two = test::read_text(search_options.output);
  search_options.threads = 1;
  search(search_options);
  EXPECT_EQ(test::read_text(search_options.output), two);
}

// One tensor alone in another type, in a model without experts: ½ E[(g·δ)²] is what is measured.
TEST_F(SearchTest, SmoothLossesAreWhatIsMeasured) {
  SearchOptions search_options = options("llama");
  search_options.text.chunks = 48;
  search_options.held_out = 12;
  search_options.rounds = 1;
  const SearchResult result = search(search_options);
  PerplexityOptions base;
  base.model = {.model = search_options.model, .threads = 2};
  base.text = search_options.text;
  base.kl_divergence_base = folder_ / "base";
  perplexity(base);
  for (const std::string tensor : {"blk.1.ffn_down.weight", "blk.0.attn_v.weight", "blk.0.ffn_up.weight"}) {
    QuantizeOptions alone{.model = search_options.model, .output = folder_ / "alone.gguf", .threads = 2};
    alone.source.type = "COPY";
    alone.source.tensor_type = {"^" + tensor + "=Q4_0"};
    alone.calibrate = search_options.text.file;
    alone.shaping.effort = search_options.effort;
    alone.shaping.ctx_size = 64;
    alone.shaping.chunks = 36;
    quantize(alone);
    PerplexityOptions measure = base;
    measure.model.model = alone.output;
    measure.kl_divergence = true;
    const double measured = perplexity(measure).divergence->mean_kld.mean;
    const auto estimated = std::ranges::find_if(
        result.sensitivities, [&](const Sensitivity& at) { return at.tensor == tensor && at.type == "Q4_0"; });
    ASSERT_NE(estimated, result.sensitivities.end()) << tensor;
    EXPECT_GT(estimated->smooth / measured, 0.5) << tensor;
    EXPECT_LT(estimated->smooth / measured, 2) << tensor;
    EXPECT_EQ(estimated->jumps, 0) << tensor;
    std::filesystem::remove(alone.output);
  }
}

TEST_F(SearchTest, RefusesWhatCannotBe) {
  const auto expect_refused = [&](const std::function<void(SearchOptions&)>& change, const std::string& words) {
    SearchOptions search_options = options("llama");
    change(search_options);
    const std::string error = test::error_of([&] { search(search_options); });
    EXPECT_THAT(error, HasSubstr(words));
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    EXPECT_EQ(names(), std::set<std::string>()) << words;
  };
  expect_refused([](SearchOptions& at) { at.bpw = 0; }, "--size");
  expect_refused([](SearchOptions& at) { at.size = 1000000; }, "--size");
  expect_refused([](SearchOptions& at) { at.bpw = 0, at.size = 100; }, "header");
  expect_refused([](SearchOptions& at) { at.bpw = 3; }, "needs");
  expect_refused([](SearchOptions& at) { at.bpw = 0.5, at.source.type = ""; }, "no preset fits");
  expect_refused([](SearchOptions& at) { at.devices.vram = "1GiB"; }, "one of --size, --bpw and --vram");
  expect_refused([](SearchOptions& at) { at.bpw = 0, at.devices.vram = "1"; }, "unit");
  expect_refused([](SearchOptions& at) { at.bpw = 0, at.devices.vram = "1MiB"; }, "bytes are missing");
  expect_refused([](SearchOptions& at) { at.bpw = 0, at.devices.vram = "1GiB", at.text.ctx_size = 1 << 30; },
                 "exceeds the model's");
  expect_refused([](SearchOptions& at) { at.steering.fix = {"ffn_dwon=Q4_0"}; }, "matches no tensor");
  expect_refused([](SearchOptions& at) { at.steering.fix = {"ffn=Q4_9"}; }, "Q4_9");
  expect_refused([](SearchOptions& at) { at.steering.simple = -1; }, "--simple");
  expect_refused([](SearchOptions& at) { at.bpw = std::nan(""); }, "--bpw");
  expect_refused([](SearchOptions& at) { at.bpw = -1; }, "--bpw");
  expect_refused([](SearchOptions& at) { at.types = "Q4_0,nonsense"; }, "nonsense");
  expect_refused([](SearchOptions& at) { at.types = "I32"; }, "I32");
  expect_refused([](SearchOptions& at) { at.held_out = 1; }, "--held-out");
  expect_refused([](SearchOptions& at) { at.rounds = 0; }, "--rounds");
  expect_refused([](SearchOptions& at) { at.text.file = ""; }, "no text given");
  expect_refused([](SearchOptions& at) { at.text.from_chunk = 1; }, "--from-chunk");
  expect_refused([](SearchOptions& at) { at.text.parse_special = true; }, "--parse-special");
  expect_refused([](SearchOptions& at) { at.text.chunks = 4; }, "8 chunks");
  expect_refused([](SearchOptions& at) { at.text.file = "/nowhere.txt"; }, "/nowhere.txt");
  expect_refused([](SearchOptions& at) { at.output = at.model; }, "is also the input");
  expect_refused([](SearchOptions& at) { at.model = test::golden("models/qwen3next/model.gguf"); }, "gated delta net");
}

}  // namespace
}  // namespace steelyard::jobs
