// A folder of Hugging Face goes through every job as the GGUF file goes that it is: the same figures and bytes. The
// model is a golden one, taken apart (huggingface/golden_folder.h).
#include "jobs/source.h"

#include <gtest/gtest.h>

#include "error_of.h"
#include "gguf/reader.h"
#include "huggingface/golden_folder.h"
#include "imatrix/imatrix.h"
#include "jobs/diff.h"
#include "jobs/fit.h"
#include "jobs/imatrix.h"
#include "jobs/inspect.h"
#include "jobs/perplexity.h"
#include "jobs/quantize.h"
#include "jobs/run.h"
#include "quantize/provenance.h"

namespace steelyard::jobs {
namespace {

class Sources : public testing::Test {
 protected:
  Sources() {
    std::filesystem::create_directory(model_);
    test::put_deepseek(model_);
  }
  static TextOptions text() { return {.file = test::golden("imatrix/text.txt"), .ctx_size = 32, .chunks = 24}; }
  QuantizeOptions quantization(const std::string& model, const std::string& type, const std::string& output) const {
    QuantizeOptions options{.model = model, .output = folder_ / output};
    options.source.type = type;
    options.source.pure = type == "Q8_0";
    return options;
  }
  // Tensors of both files have the same bytes.
  static void expect_equal_tensors(const std::string& a, const std::string& b) {
    const ModelDiff diff = diff_models(a, b);
    EXPECT_FALSE(diff.tensors.empty());
    for (const TensorDiff& tensor : diff.tensors) EXPECT_TRUE(tensor.same_bytes) << tensor.name;
  }

  const test::TempFolder folder_;
  const std::string model_ = folder_ / "DeepSeek";
  const std::string file_ = test::golden("models/deepseek2/model.gguf");
};

TEST_F(Sources, FoldersAndFilesAreTold) {
  EXPECT_EQ(open_source(model_)->version(), 0u);
  EXPECT_EQ(open_source(file_)->version(), 3u);
  EXPECT_EQ(model_name(model_), "DeepSeek");
  EXPECT_EQ(model_name(model_ + "/"), "DeepSeek");
  EXPECT_EQ(model_name(file_), "model.gguf");
}

TEST_F(Sources, HeadersGiveTheSame) {
  for (const std::string& model : {model_, file_}) {
    PlanOptions options{.model = model};
    options.source.type = "Q8_0";
    EXPECT_EQ(plan(options).total_bytes, plan({.model = file_, .source = options.source}).total_bytes);
    FitOptions fitting{.model = model, .ctx_size = 32};
    fitting.devices.vram = "1GiB";
    EXPECT_EQ(fit(fitting).devices[0].weights,
              fit({.model = file_, .ctx_size = 32, .devices = fitting.devices}).devices[0].weights);
  }
  const InspectResult found = inspect({.files = {model_}});
  EXPECT_EQ(std::get<ModelContents>(found).tensors.size(), open_source(file_)->tensors().size());
}

TEST_F(Sources, ModelsThatRunGiveTheSame) {
  const auto perplexity_of = [](const std::string& model) {
    PerplexityOptions options;
    options.model.model = model;
    options.text = text();
    return perplexity(options).perplexity;
  };
  EXPECT_EQ(perplexity_of(model_), perplexity_of(file_));
  const auto text_of = [](const std::string& model) {
    RunOptions options;
    options.model.model = model;
    options.prompt = "The quick brown fox";
    options.n_predict = 12;
    options.sampling.temperature = 0;
    return run(options).text;
  };
  EXPECT_EQ(text_of(model_), text_of(file_));
  const auto importance_of = [&](const std::string& model, const std::string& name) {
    ImatrixOptions options;
    options.model.model = model;
    options.text = text();
    options.output_file = folder_ / name;
    imatrix(options);
    return imatrix::Imatrix::load(options.output_file);
  };
  const imatrix::Imatrix a = importance_of(model_, "a.gguf"), b = importance_of(file_, "b.gguf");
  ASSERT_EQ(a.entries.size(), b.entries.size());
  for (const auto& [name, entry] : b.entries) EXPECT_EQ(a.entries.at(name).in_sum2, entry.in_sum2) << name;
}

TEST_F(Sources, QuantizedFilesAreTheSame) {
  for (const std::string type : {"COPY", "BF16", "Q8_0"}) {
    quantize(quantization(model_, type, "a.gguf"));
    quantize(quantization(file_, type, "b.gguf"));
    expect_equal_tensors(folder_ / "a.gguf", folder_ / "b.gguf");
    std::filesystem::remove(folder_ / "a.gguf");
    std::filesystem::remove(folder_ / "b.gguf");
  }
  for (const std::string& model : {model_, file_}) {
    QuantizeOptions options = quantization(model, "Q8_0", model == file_ ? "b.gguf" : "a.gguf");
    options.calibrate = text().file;
    options.shaping.ctx_size = 32;
    options.shaping.chunks = 24;
    quantize(options);
  }
  expect_equal_tensors(folder_ / "a.gguf", folder_ / "b.gguf");
}

TEST_F(Sources, AFileSaysOfWhichFolderItIs) {
  quantize(quantization(model_, "Q8_0", "a.gguf"));
  const quantize::Recorded recorded = quantize::read_provenance(gguf::Reader(folder_ / "a.gguf"));
  EXPECT_EQ(recorded.provenance.source_file, "DeepSeek");
  EXPECT_EQ(recorded.source_header, quantize::header_sha256(*open_source(model_)));
  EXPECT_GT(verify_model(folder_ / "a.gguf").tensors, 0);

  quantize({.model = model_ + "/", .output = folder_ / "again.gguf", .from = folder_ / "a.gguf"});
  expect_equal_tensors(folder_ / "a.gguf", folder_ / "again.gguf");
  test::put_file(model_ + "/generation_config.json", R"({"top_k": 5})");  // another model now
  const std::string message = test::error_of(
      [&] { quantize({.model = model_, .output = folder_ / "other.gguf", .from = folder_ / "a.gguf"}); });
  EXPECT_NE(message, "");
}

}  // namespace
}  // namespace steelyard::jobs
