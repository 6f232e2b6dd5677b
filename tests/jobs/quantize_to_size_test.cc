// A file of a size: searched, quantized, kept within it, and gone on with.
#include "jobs/quantize_to_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "error_of.h"
#include "gguf/reader.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

class QuantizeToSize : public testing::Test {
 protected:
  QuantizeToSize() {
    options_.source.type = "Q4_0";
    options_.size = std::filesystem::file_size(options_.model) / 4;
    options_.shaping.ctx_size = 64;
    options_.shaping.chunks = 12;
  }
  std::set<std::string> names() const {
    std::set<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / ".")) found.insert(entry.path().filename());
    return found;
  }

  const test::TempFolder folder_;
  QuantizeOptions options_ = {.model = test::golden("models/llama/model.gguf"),
                              .output = folder_ / "out.gguf",
                              .calibrate = std::string(STEELYARD_SOURCE_DIR) + "/calibration/default.txt",
                              .threads = 2};
};

TEST_F(QuantizeToSize, FitsAndKeepsThePlan) {
  const QuantizeResult result = quantize(options_);
  EXPECT_LE(result.bytes, options_.size);
  EXPECT_EQ(names(), (std::set<std::string>{"out.gguf", "out.gguf.plan"}));
  const gguf::Reader file(options_.output);
  std::set<formats::Type> types;
  for (const gguf::TensorInfo& tensor : file.tensors()) types.insert(tensor.type);
  EXPECT_GT(types.size(), 2u);  // norms, and not all the rest alike
}

// With devices the context is theirs, and chunks are no longer than usual.
TEST_F(QuantizeToSize, FillsDevices) {
  options_.size = 0;
  options_.devices = {.vram = "1GiB"};
  options_.steering.fix = {"attn_v=Q5_1"};
  const QuantizeResult result = quantize(options_);
  EXPECT_EQ(names(), (std::set<std::string>{"out.gguf", "out.gguf.plan"}));
  const gguf::Reader file(options_.output);
  EXPECT_EQ(file.find("blk.0.attn_v.weight")->type, formats::Type::Q5_1);
  EXPECT_NE(file.find("blk.0.attn_q.weight")->type, formats::Type::Q4_0);  // there is room for more
}

// A plan that is there is used as it is.
TEST_F(QuantizeToSize, GoesOnWithItsPlan) {
  std::ofstream(options_.output + ".plan") << "* = Q5_1\n";
  options_.resume = true;
  quantize(options_);
  EXPECT_EQ(gguf::Reader(options_.output).find("blk.0.attn_q.weight")->type, formats::Type::Q5_1);
}

TEST_F(QuantizeToSize, GoesOnWithItsSearch) {
  quantize(options_);
  const std::string whole = test::read_text(options_.output), plan = test::read_text(options_.output + ".plan");
  std::filesystem::remove(options_.output + ".plan");
  bool is_measured = false;
  EXPECT_THROW(quantize(options_,
                        [&](const Progress& at) {
                          is_measured = is_measured || at.stage == "measure";
                          if (is_measured && at.stage == "calibrate") throw std::runtime_error("stopped");
                        }),
               std::runtime_error);
  EXPECT_TRUE(names().contains("out.gguf.search"));
  options_.resume = true;
  quantize(options_);
  EXPECT_TRUE(test::read_text(options_.output + ".plan") == plan);
  EXPECT_TRUE(test::read_text(options_.output) == whole);
  EXPECT_EQ(names(), (std::set<std::string>{"out.gguf", "out.gguf.plan"}));
}

TEST_F(QuantizeToSize, Refused) {
  const auto expect_refused = [&](const std::function<void(QuantizeOptions&)>& change, const std::string& words) {
    QuantizeOptions options = options_;
    change(options);
    EXPECT_THAT(test::error_of([&] { quantize(options); }), HasSubstr(words));
    EXPECT_EQ(names(), std::set<std::string>()) << words;
  };
  expect_refused([](QuantizeOptions& at) { at.calibrate = ""; }, "--calibrate");
  expect_refused([](QuantizeOptions& at) { at.calibrate = "self"; }, "text file");
  expect_refused([](QuantizeOptions& at) { at.from = at.model; }, "--from");
  expect_refused([](QuantizeOptions& at) { at.imatrix = at.model; }, "--imatrix");
  expect_refused([](QuantizeOptions& at) { at.dry_run = true; }, "--dry-run");
  expect_refused([](QuantizeOptions& at) { at.output = ""; }, "no output");
  expect_refused([](QuantizeOptions& at) { at.size = 1000; }, "header");
  expect_refused([](QuantizeOptions& at) { at.devices.vram = "1GiB"; }, "one of");
  expect_refused([](QuantizeOptions& at) { at.size = 0, at.devices.vram = "1GiB", at.calibrate = ""; },
                 "--vram needs a text");
  expect_refused([](QuantizeOptions& at) { at.size = 0, at.steering.tie = true; }, "--tie");
}

}  // namespace
}  // namespace steelyard::jobs
