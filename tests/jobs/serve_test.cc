// The job serve: what it says, how it is ended, options out of range. What it answers: tests/serve.
#include "jobs/serve.h"

#include <gmock/gmock.h>

#include <stdexcept>

#include "error_of.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

ServeOptions options() {
  ServeOptions options;
  options.model.model = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";
  options.port = 0;
  options.ctx_size = 128;
  return options;
}

TEST(ServeJob, ListensUntilItIsToldToStop) {
  std::vector<std::string> stages;
  int64_t port = 0;
  int n = 0;
  const ServeResult result = serve(
      options(),
      [&](const Progress& progress) {
        if (stages.empty() || stages.back() != progress.stage) stages.emplace_back(progress.stage);
        if (progress.stage == "listening") {
          port = progress.data.at("port").get<int64_t>();
          EXPECT_EQ(progress.data.at("model"), "glm-flash-tiny-bf16");
          EXPECT_EQ(progress.data.at("context"), 128);
        }
      },
      [&] { return ++n > 2; });
  EXPECT_EQ(stages, (std::vector<std::string>{"listening", "serving", "draining"}));
  EXPECT_GT(port, 0);
  EXPECT_EQ(result.texts, 0);
  ServeResult read;
  read_json(to_json(result), read, "test");
  EXPECT_EQ(to_json(read), to_json(result));
}

TEST(ServeJob, ACallbackThatThrowsEndsIt) {
  EXPECT_THROW(serve(options(),
                     [](const Progress& progress) {
                       if (progress.stage == "serving") throw std::runtime_error("enough");
                     }),
               std::runtime_error);
}

TEST(ServeJob, OptionsOutOfRange) {
  const auto message = [](auto change) {
    ServeOptions changed = options();
    change(changed);
    return test::error_of([&] { serve(changed, {}, [] { return true; }); });
  };
  EXPECT_THAT(message([](ServeOptions& o) { o.port = -1; }), HasSubstr("--port"));
  EXPECT_THAT(message([](ServeOptions& o) { o.parallel = 1000; }), HasSubstr("--parallel"));
  EXPECT_THAT(message([](ServeOptions& o) { o.queue = 0; }), HasSubstr("--queue"));
  EXPECT_THAT(message([](ServeOptions& o) { o.body_size = 1; }), HasSubstr("--body-size"));
  EXPECT_THAT(message([](ServeOptions& o) { o.sampling.top_p = 2; }), HasSubstr("top-p"));
  EXPECT_THAT(message([](ServeOptions& o) { o.ctx_size = 1 << 30; }), HasSubstr("context"));
  EXPECT_THAT(message([](ServeOptions& o) { o.host = "192.0.2.1"; }), HasSubstr("cannot listen"));
}

}  // namespace
}  // namespace steelyard::jobs
