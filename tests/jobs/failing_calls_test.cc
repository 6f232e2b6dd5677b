// Every system call of every job that writes fails once, and from some call on all of them, as on a full disk. Whatever
// the call: one line of error or success, a final name has the right content or is not there, and the same job again
// ends in the result of an undisturbed one, with nothing beside it. STEELYARD_FAILURES sets the most calls per job and
// kind of failure; 0: all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <ostream>
#include <string>

#include "base/system_calls.h"
#include "error_of.h"
#include "jobs/imatrix.h"
#include "jobs/perplexity.h"
#include "jobs/quantize.h"
#include "jobs/search.h"
#include "jobs/tune.h"
#include "jobs/write.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

namespace fs = std::filesystem;

const std::string kModel = test::golden("models/llama/model.gguf");
const std::string kText = test::golden("imatrix/text.txt");

/// A job whose outputs are named out* in a folder, and which goes on where it was interrupted.
struct Case {
  const char* name;
  std::function<void(const std::string& folder)> run;
  bool is_slow = false;  ///< seconds instead of milliseconds
};

std::ostream& operator<<(std::ostream& out, const Case& at) { return out << at.name; }

QuantizeOptions to_quantize(const std::string& folder) {
  QuantizeOptions options{.model = kModel, .output = folder + "out.gguf", .threads = 1};
  options.source.type = "Q4_0";
  options.resume = true;
  return options;
}

void collect(const std::string& folder, const char* order) {
  ImatrixOptions options;
  options.model = {.model = kModel, .threads = 1};
  options.text = {.file = kText, .ctx_size = 64, .chunks = 4};
  options.sweep.order = order;
  options.sweep.batch_size = 64;
  options.resume = {.resume = folder + "state", .save_every = 0};
  options.output_file = folder + "out.gguf";
  imatrix(options);
}

void evaluate(const std::string& folder, const char* format) {
  PerplexityOptions options;
  options.model = {.model = kModel, .threads = 1};
  options.text = {.file = kText, .ctx_size = 64, .chunks = 4};
  options.sweep.batch_size = 64;
  options.kl_divergence_base = folder + "out.kld";
  options.kl_divergence_base_format = format;
  options.resume = {.resume = folder + "state", .save_every = 0};
  perplexity(options);
}

std::vector<Case> cases() {
  std::vector<Case> all;
  all.push_back({"quantize", [](const std::string& folder) { quantize(to_quantize(folder)); }});
  all.push_back({"shards", [](const std::string& folder) {
                   QuantizeOptions options = to_quantize(folder);
                   options.shaping.split_max_size = 60000;
                   quantize(options);
                 }});
  all.push_back({"calibrate", [](const std::string& folder) {
                   QuantizeOptions options = to_quantize(folder);
                   options.calibrate = kText;
                   options.shaping.ctx_size = 64;
                   options.shaping.chunks = 4;
                   quantize(options);
                 }});
  all.push_back({"importance by token", [](const std::string& folder) { collect(folder, "token"); }});
  all.push_back({"importance by layer", [](const std::string& folder) { collect(folder, "layer"); }});
  all.push_back({"compact base", [](const std::string& folder) { evaluate(folder, "compact"); }});
  all.push_back({"llama base", [](const std::string& folder) { evaluate(folder, "llama"); }});
  all.push_back({"write", [](const std::string& folder) {
                   WriteOptions options;
                   options.model = {.model = kModel, .threads = 1};
                   options.output_file = folder + "out.text";
                   options.ctx_size = 32;
                   options.chunks = 2;
                   options.resume = {.resume = folder + "state", .save_every = 0};
                   write(options);
                 }});
  all.push_back({"tune",
                 [](const std::string& folder) {
                   const test::TempFolder quantized;
                   quantize(to_quantize(quantized / ""));
                   TuneOptions options;
                   options.model = quantized / "out.gguf";
                   options.output = folder + "out.gguf";
                   options.text = {.file = kText, .ctx_size = 64, .chunks = 6};
                   options.teacher = kModel;
                   options.threads = 1;
                   options.tuning = {.steps = 2, .step_chunks = 1, .held_out = 2, .compare_every = 1};
                   options.resume = {.resume = folder + "state", .save_every = 0};
                   tune(options);
                 },
                 /*is_slow=*/true});
  all.push_back({"search",
                 [](const std::string& folder) {
                   SearchOptions options;
                   options.model = kModel;
                   options.output = folder + "out.plan";
                   options.text = {.file = std::string(STEELYARD_SOURCE_DIR) + "/calibration/default.txt",
                                   .ctx_size = 64,
                                   .chunks = 10};
                   options.source.type = "Q4_0";
                   options.types = "Q4_0,Q8_0";
                   options.bpw = 6;
                   options.held_out = 2;
                   options.threads = 1;
                   search(options);
                 },
                 /*is_slow=*/true});
  return all;
}

class FailingCallsOfJobs : public testing::TestWithParam<Case> {
 protected:
  std::map<std::string, std::string> contents() const {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_ / "")) {
      found[entry.path().filename()] = test::read_text(entry.path());
    }
    return found;
  }
  void clear() const {
    for (const auto& entry : fs::directory_iterator(folder_ / "")) fs::remove(entry.path());
  }
  void run() const { GetParam().run(folder_ / ""); }

  const test::TempFolder folder_;
};

TEST_P(FailingCallsOfJobs, LoseNothingAndLeaveNothingHalfWritten) {
  run();
  const std::map<std::string, std::string> whole = contents();
  ASSERT_FALSE(whole.empty());
  clear();
  int64_t n_calls = 0;
  {
    const FailingCalls counting(0, 0);
    run();
    n_calls = counting.n_calls();
  }
  ASSERT_EQ(contents(), whole) << "the job is not deterministic";
  const char* const wanted = std::getenv("STEELYARD_FAILURES");
  const int64_t most = wanted != nullptr ? std::atoll(wanted) : GetParam().is_slow ? 8 : 40;
  const int64_t step = most > 0 ? std::max<int64_t>(1, n_calls / most) : 1;
  int64_t n_tried = 0;
  for (const bool from_then_on : {false, true}) {
    for (int64_t nth = 1; nth <= n_calls; nth += step, ++n_tried) {
      SCOPED_TRACE(fmt::format("call {} of {}{}", nth, n_calls, from_then_on ? " and all later" : ""));
      clear();
      std::string error, failed;
      {
        const FailingCalls failing(nth, from_then_on ? ENOSPC : EIO, from_then_on);
        error = test::error_of([&] { run(); });
        failed = failing.failed();
      }
      EXPECT_THAT(error, testing::Not(testing::HasSubstr("\n")));
      for (const auto& [name, content] : contents()) {
        const auto final = whole.find(name);
        if (final != whole.end()) {
          EXPECT_TRUE(content == final->second) << name << " after: " << error;
        }
        // What cannot be removed stays.
        if (name.ends_with(".tmp")) {
          EXPECT_TRUE(from_then_on || failed == "unlink") << name << " after " << failed << ": " << error;
          fs::remove(folder_ / name);
        }
      }
      EXPECT_EQ(test::error_of([&] { run(); }), "") << "after: " << error;
      ASSERT_TRUE(contents() == whole) << "after: " << error << "; " << contents().size() << " files";
    }
  }
  RecordProperty("calls", std::to_string(n_calls));
  RecordProperty("tried", std::to_string(n_tried));
}

INSTANTIATE_TEST_SUITE_P(Jobs, FailingCallsOfJobs, testing::ValuesIn(cases()), [](const auto& at) {
  std::string name = at.param.name;
  std::ranges::replace(name, ' ', '_');
  return name;
});

}  // namespace
}  // namespace steelyard::jobs
