// The job inspect: contents of models and importance, differences, checksums, and where a file comes from.
#include "jobs/inspect.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <stdexcept>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/sha256.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "gguf/writer.h"
#include "growth.h"
#include "jobs/metadata_view.h"
#include "model_copy.h"
#include "quantize/provenance.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

class InspectJob : public testing::Test {
 protected:
  // The model as if quantize had written it.
  std::string recorded() const {
    test::ModelCopy copy(llama_);
    const quantize::Provenance provenance{.version = "1", .plan = "* = COPY\n", .source_file = "a"};
    add_provenance(copy.metadata, provenance, sha256("header"), copy.tensors.size());
    std::vector<quantize::TensorHashes> hashes;
    for (const auto& tensor : copy.tensors) hashes.push_back({.result = sha256(tensor.bytes)});
    complete_provenance(copy.metadata, sha256("source"), hashes);
    copy.save(folder_ / "recorded.gguf");
    return folder_ / "recorded.gguf";
  }

  static std::string failure(const InspectOptions& options) {
    return test::error_of([&] { inspect(options); });
  }

  const test::TempFolder folder_;
  const std::string llama_ = test::golden("models/llama/model.gguf");
};

TEST_F(InspectJob, Model) {
  const InspectResult result = inspect({.files = {llama_}});
  const auto& model = std::get<ModelContents>(result);
  const gguf::Reader reader(llama_, gguf::ReadMode::kHeader);
  EXPECT_EQ(model.tensors.size(), reader.tensors().size());
  uint64_t bytes = 0;
  int64_t n_elements = 0;
  for (const TypeSum& sum : model.types) {
    bytes += sum.bytes;
    n_elements += sum.n_elements;
  }
  EXPECT_EQ(bytes, reader.total_bytes());
  EXPECT_EQ(n_elements, model.n_elements);
  const Json json = to_json(result);
  EXPECT_EQ(json["metadata"]["general.architecture"], "llama");
  EXPECT_THAT(json["metadata"]["tokenizer.ggml.tokens"].get<std::string>(), HasSubstr("array of "));
  EXPECT_EQ(json["tensors"][0]["name"], reader.tensors()[0].name);
  EXPECT_EQ(json["tensors"][0]["shape"].size(), static_cast<size_t>(reader.tensors()[0].n_dims));
  EXPECT_FALSE(json.contains("types"));
}

TEST_F(InspectJob, ImatrixInEitherLayout) {
  const std::string path = test::golden("imatrix/deepseek2/imatrix.gguf");
  const InspectResult result = inspect({.files = {path}});
  const auto& contents = std::get<ImatrixContents>(result);
  EXPECT_GT(contents.entries.size(), 0u);
  const Json json = to_json(result);
  EXPECT_EQ(json["entries"].size(), contents.entries.size());
  EXPECT_EQ(json["blocks"].size(), contents.blocks.size());
  EXPECT_EQ(json["entries"][0]["relative_entropy"], contents.entries[0].relative_entropy());
  imatrix::Imatrix::load(path).save(folder_ / "imatrix.dat");
  const InspectResult legacy = inspect({.files = {folder_ / "imatrix.dat"}});
  EXPECT_EQ(std::get<ImatrixContents>(legacy).entries.size(), contents.entries.size());
}

TEST_F(InspectJob, Diff) {
  test::ModelCopy copy(llama_);
  copy.metadata.set_string("general.name", "another");
  copy.set_value("output_norm.weight", 0, 1e6);
  copy.remove("output.weight");
  copy.save(folder_ / "b.gguf");
  int64_t done = 0;
  const InspectResult result =
      inspect({.files = {llama_, folder_ / "b.gguf"}, .diff = true}, [&](const Progress& progress) {
        EXPECT_EQ(progress.stage, "tensors");
        EXPECT_EQ(progress.done, ++done);
      });
  const auto& diff = std::get<ModelDiff>(result);
  EXPECT_EQ(done, diff.a.tensors);
  EXPECT_EQ(diff.b.tensors, diff.a.tensors - 1);
  ASSERT_EQ(diff.metadata.size(), 1u);
  EXPECT_EQ(diff.metadata[0].key, "general.name");
  EXPECT_EQ(diff.metadata[0].b, "string \"another\"");
  const Json json = to_json(result);
  for (const Json& row : json["tensors"]) {
    const bool changed = row["name"] == "output_norm.weight", removed = row["name"] == "output.weight";
    EXPECT_EQ(row["same_bytes"], !changed && !removed) << row;
    EXPECT_EQ(row.contains("b"), !removed) << row;
    EXPECT_EQ(row.contains("relative_rmse"), !removed) << row;
    if (changed) {
      EXPECT_GT(row["max_abs"].get<double>(), 9e5);
    }
  }
  EXPECT_GT(diff.total.max_abs, 9e5);
}

TEST_F(InspectJob, Verify) {
  const std::string path = recorded();
  int64_t done = 0, total = 0;
  const InspectResult result = inspect({.files = {path}, .verify = true, .threads = 1}, [&](const Progress& progress) {
    EXPECT_GT(progress.done, done);
    done = progress.done;
    total = progress.total;
  });
  EXPECT_EQ(std::get<Verification>(result).tensors, total);
  EXPECT_EQ(done, total);
  EXPECT_THROW(verify_model(path, [](const Progress&) { throw std::runtime_error("enough"); }), std::runtime_error);

  std::string bytes = test::read_text(path);
  bytes[bytes.size() - 40] ^= 1;
  write_file(path, bytes);
  EXPECT_THAT(failure({.files = {path}, .verify = true}), HasSubstr("checksum differs"));
  EXPECT_THAT(failure({.files = {llama_}, .verify = true}), HasSubstr("has no checksums"));
}

TEST_F(InspectJob, WhereAFileComesFrom) {
  const auto shown = [&](const std::string& options) {
    test::ModelCopy copy(recorded());
    copy.metadata.set_string("steelyard.options", options);
    copy.metadata.set_strings("steelyard.arguments", std::vector<std::string>{"--pure"});  // of earlier versions
    copy.save(folder_ / "options.gguf");
    return to_json(inspect_model(folder_ / "options.gguf"))["metadata"];
  };
  const Json options = {{"effort", "best"}, {"prior_weight", 4.0}, {"tensor_type", {"a=Q8_0"}}};
  const Json metadata = shown(options.dump());
  EXPECT_EQ(metadata["steelyard.options"], options);
  EXPECT_EQ(metadata["steelyard.arguments"], Json({"--pure"}));
  EXPECT_EQ(metadata["steelyard.plan"], "* = COPY");
  EXPECT_THAT(metadata["steelyard.tensor.sha256"].get<std::string>(), HasSubstr("array of "));
  EXPECT_EQ(shown("{\"effort\": ")["steelyard.options"], "{\"effort\": ");
  // Nested deeper than any stack: shown as the text that it is.
  EXPECT_TRUE(shown("{\"a\":" + std::string(1 << 20, '['))["steelyard.options"].is_string());
  const std::string closed = std::string(100000, '[') + std::string(100000, ']');
  EXPECT_TRUE(shown("{\"a\":" + closed + "}")["steelyard.options"].is_string());
}

TEST_F(InspectJob, ValuesForPeople) {
  gguf::Metadata a, b;
  a.set_string("text", "a\nb\x1b");
  a.set({"large", gguf::ValueType::kUint64, std::string(8, '\xff')});
  a.set_strings("words", std::vector<std::string>{"x", "y", "z"});
  b.set_strings("words", std::vector<std::string>{"x", "w"});
  EXPECT_EQ(value_of(a, *a.find("text")), "a\\x0ab\\x1b");
  EXPECT_EQ(value_of(a, *a.find("large")), UINT64_MAX);
  EXPECT_EQ(value_of(a, *a.find("words")), "array of 3");
  EXPECT_EQ(value_beside(a, *a.find("words"), b), "array of 3, differs from element 1 on: \"y\", \"z\"");
  EXPECT_EQ(value_beside(a, *a.find("large"), b), "u64 18446744073709551615");
}

TEST_F(InspectJob, Refuses) {
  EXPECT_THAT(failure({.files = {llama_, llama_}}), HasSubstr("--diff compares two"));
  EXPECT_THAT(failure({.files = {llama_}, .diff = true}), HasSubstr("two files"));
  EXPECT_THAT(failure({.files = {}}), HasSubstr("expected one file"));
  EXPECT_THAT(failure({.files = {llama_, llama_}, .diff = true, .verify = true}), HasSubstr("one of"));
  EXPECT_THAT(failure({.files = {folder_ / "absent"}}), HasSubstr("absent"));
  InspectOptions options;
  read_json({{"files", {"a", "b"}}, {"diff", true}}, options, "options");
  EXPECT_EQ(options.files.size(), 2u);
  EXPECT_THROW(read_json({{"file", "a"}}, options, "options"), Error);
}

// Opening one for reading would wait for somebody to write.
TEST_F(InspectJob, PipesAreRefused) {
  const std::string path = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_THAT(failure({.files = {path}}), HasSubstr("not a regular file"));
}

TEST_F(InspectJob, TimeGrowsWithTheKeys) {
  const double ratio = test::growth(
      2000,
      [&](size_t n) {
        gguf::Metadata metadata("a");
        for (size_t i = 0; i < n; ++i) metadata.set_string(fmt::format("key.{}", i), "value");
        const std::string path = folder_ / fmt::format("{}.gguf", n);
        gguf::Writer(path, metadata, {}).finish();
        return path;
      },
      [](const std::string& path) {
        const gguf::Reader reader(path);
        const Json json = to_json(InspectResult(inspect_model(path)));
        EXPECT_EQ(json["metadata"].size(), reader.metadata().entries().size());
      });
  EXPECT_LT(ratio, test::kAboutLinear);
}

}  // namespace
}  // namespace steelyard::jobs
