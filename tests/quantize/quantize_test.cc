// The journey from a model and a plan to a file: bytes, metadata, importance, faults found before byte one.
#include "quantize/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/parallel.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "quantize/encode.h"
#include "support.h"

namespace steelyard::quantize {
namespace {

using testing::HasSubstr;

const std::string kModel = test::golden("imatrix/deepseek2_k256/model.gguf");
const std::string kImatrix = test::golden("imatrix/deepseek2_k256/imatrix_with_output.gguf");

uint64_t run(const std::string& source, const std::string& plan, const std::string& target,
             const imatrix::Imatrix* imatrix = nullptr, bool allow_requantize = false) {
  const gguf::Reader reader(source);
  const plan::Resolution resolution = resolve(plan::Plan::parse(plan, "test.plan"), reader.tensors());
  return quantize({reader, resolution, imatrix, allow_requantize}, {.path = target}, [](const QuantizeProgress&) {})
      .bytes;
}

std::string error_of(const std::string& source, const std::string& plan, const imatrix::Imatrix* imatrix = nullptr) {
  const test::TempFolder folder;
  const std::string target = folder / "out.gguf";
  const std::string error = test::error_of([&] { run(source, plan, target, imatrix); });
  EXPECT_TRUE(error.empty() || std::filesystem::is_empty(std::filesystem::path(target).parent_path()));
  return error;
}

TEST(Quantize, EveryTensorDecodesToWhatItsEncoderChose) {
  const test::TempFolder folder;
  const imatrix::Imatrix imatrix = imatrix::Imatrix::load(kImatrix);
  run(kModel, "exps = IQ2_S\nattn = Q4_K\n* = Q6_K\n", folder / "out.gguf", &imatrix);
  const gguf::Reader source(kModel), result(folder / "out.gguf");
  ASSERT_EQ(result.tensors().size(), source.tensors().size());
  for (const gguf::TensorInfo& tensor : result.tensors()) {
    const gguf::TensorInfo& from = *source.find(tensor.name);
    EXPECT_EQ(tensor.ne, from.ne) << tensor.name;
    const formats::Format& type = format(tensor.type);
    std::vector<std::byte> expected;
    if (tensor.type == from.type) {
      expected.assign(source.bytes(from).begin(), source.bytes(from).end());
    } else {  // row by row, each with the importance of its own expert or head
      const auto* values = reinterpret_cast<const float*>(source.bytes(from).data());
      for (int64_t row = 0; row < from.n_rows(); ++row) {
        const std::vector<float> weights = imatrix.importance(from, row / from.ne[1]);
        std::vector<std::byte> bytes(*row_bytes(type, from.ne[0]));
        type.encoder->encode_row(values + row * from.ne[0], weights.empty() ? nullptr : weights.data(),
                                 from.ne[0] / type.block_len, formats::Effort::kNormal, bytes.data());
        expected.insert(expected.end(), bytes.begin(), bytes.end());
      }
    }
    EXPECT_TRUE(std::ranges::equal(result.bytes(tensor), expected)) << tensor.name;
  }
}

TEST(Quantize, MetadataIsCarriedThrough) {
  const test::TempFolder folder;
  const imatrix::Imatrix imatrix = imatrix::Imatrix::load(kImatrix);
  run(kModel, "* = Q8_0", folder / "out.gguf", &imatrix);
  const gguf::Reader source(kModel), result(folder / "out.gguf");
  for (const gguf::KeyValue& entry : source.metadata().entries()) {
    if (entry.key == "general.file_type" || entry.key == "general.quantization_version") continue;
    const gguf::KeyValue* copy = result.metadata().find(entry.key);
    ASSERT_NE(copy, nullptr) << entry.key;
    EXPECT_EQ(copy->type, entry.type) << entry.key;
    EXPECT_EQ(copy->raw, entry.raw) << entry.key;
  }
  EXPECT_EQ(result.metadata().integer("quantize.imatrix.chunks_count"), 8);
  EXPECT_EQ(result.metadata().integer("general.quantization_version"), 2);
}

// A file like those of other writers: tensors at multiples of 24 or of 4, which only a lenient reader takes.
TEST(Quantize, SourceOfOddAlignment) {
  for (const uint32_t alignment : {4u, 24u}) {
    const test::TempFolder folder;
    std::vector<float> values(64 * 3, 0.25f);
    std::string file = "GGUF";
    const auto put = [&](auto value) { file.append(reinterpret_cast<const char*>(&value), sizeof(value)); };
    const auto text = [&](const std::string& s) { put(uint64_t{s.size()}), file += s; };
    put(uint32_t{3}), put(uint64_t{1}), put(uint64_t{1});
    text("general.alignment"), put(uint32_t{4}), put(alignment);
    text("a.weight"), put(uint32_t{2}), put(uint64_t{64}), put(uint64_t{3}), put(uint32_t{0}), put(uint64_t{0});
    while (file.size() % alignment != 0) file += '\0';
    file.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    write_file(folder / "in.gguf", file);
    run(folder / "in.gguf", "* = Q8_0", folder / "out.gguf");
    const gguf::Reader result(folder / "out.gguf");
    std::vector<float> decoded(values.size());
    format(formats::Type::Q8_0).decode(result.bytes(result.tensors()[0]).data(), 6, decoded.data());
    for (const float x : decoded) EXPECT_NEAR(x, 0.25f, 1e-3f) << alignment;
  }
}

TEST(Quantize, SameBytesForAnyNumberOfThreads) {
  const test::TempFolder folder;
  const imatrix::Imatrix imatrix = imatrix::Imatrix::load(kImatrix);
  std::string first;
  for (const int threads : {1, 2, 7}) {
    set_thread_count(threads);
    const std::string path = folder / std::to_string(threads);
    run(kModel, "exps = IQ3_S\nattn = IQ4_NL\n* = Q4_K", path, &imatrix);
    if (first.empty()) first = test::read_text(path);
    EXPECT_EQ(test::read_text(path), first) << threads << " threads";
  }
  set_thread_count(2);
}

TEST(Quantize, ImportanceChangesTheBytes) {
  const test::TempFolder folder;
  const imatrix::Imatrix imatrix = imatrix::Imatrix::load(kImatrix);
  run(kModel, "* = Q4_K", folder / "with", &imatrix);
  run(kModel, "* = Q4_K", folder / "without");
  EXPECT_NE(test::read_text(folder / "with"), test::read_text(folder / "without"));
}

TEST(Quantize, ReportedSizeIsTheFileSize) {
  const test::TempFolder folder;
  const uint64_t bytes = run(kModel, "* = Q5_0", folder / "out.gguf");
  EXPECT_EQ(bytes, std::filesystem::file_size(folder / "out.gguf"));
}

TEST(Quantize, RequiredImportanceIsMissedBeforeAnyWork) {
  EXPECT_THAT(error_of(kModel, "exps = IQ2_S\n* = Q8_0"), HasSubstr("IQ2_S needs importance, and no imatrix is given"));
  imatrix::Imatrix imatrix = imatrix::Imatrix::load(kImatrix);
  imatrix.entries.erase("blk.1.ffn_gate_exps.weight");
  EXPECT_THAT(error_of(kModel, "exps = IQ2_S\n* = Q8_0", &imatrix),
              HasSubstr("IQ2_S needs importance, and the imatrix has none for it: blk.1.ffn_gate_exps.weight"));
}

TEST(Quantize, ImatrixOfAnotherModel) {
  const imatrix::Imatrix imatrix = imatrix::Imatrix::load(test::golden("imatrix/deepseek2/imatrix.gguf"));
  EXPECT_THAT(error_of(kModel, "* = Q4_K", &imatrix), HasSubstr("another model"));
}

TEST(Quantize, RequantizingNeedsPermission) {
  const std::string quantized = test::golden("imatrix/deepseek2_k256/model_Q8_0.gguf");
  EXPECT_THAT(error_of(quantized, "* = Q4_K"),
              HasSubstr("is Q8_0 already; quantizing it again needs --allow-requantize"));
  const test::TempFolder folder;
  EXPECT_NO_THROW(run(quantized, "* = Q4_K", folder / "again.gguf", nullptr, /*allow_requantize=*/true));
  EXPECT_NO_THROW(run(quantized, "* = BF16", folder / "expanded.gguf"));  // expanding loses nothing
}

TEST(Quantize, TypeWithoutEncoder) { EXPECT_THAT(error_of(kModel, "* = F64"), HasSubstr("F64 cannot be written")); }

TEST(Quantize, TargetIsTheSource) {
  const test::TempFolder folder;
  const std::string model = folder / "model.gguf";
  std::filesystem::copy_file(kModel, model);
  std::filesystem::create_hard_link(model, folder / "link.gguf");
  const std::string before = test::read_text(model);
  EXPECT_THROW(run(model, "* = Q8_0", model), Error);
  EXPECT_THROW(run(model, "* = Q8_0", folder / "link.gguf"), Error);
  EXPECT_EQ(test::read_text(model), before);
}

TEST(Quantize, ProgressRisesToTheEnd) {
  const test::TempFolder folder;
  const gguf::Reader reader(kModel);
  const plan::Resolution resolution = resolve(plan::Plan::parse("* = Q8_0", "test.plan"), reader.tensors());
  uint64_t last = 0;
  size_t at_end = 0;
  quantize({reader, resolution}, {.path = folder / "out.gguf"}, [&](const QuantizeProgress& progress) {
    EXPECT_GE(progress.done, last);
    EXPECT_LE(progress.done, progress.total);
    EXPECT_EQ(progress.info == nullptr, progress.tensor == progress.n_tensors);
    last = progress.done;
    at_end += progress.info == nullptr;
  });
  EXPECT_EQ(last, resolution.n_elements);
  EXPECT_EQ(at_end, 1u);
}

TEST(Quantize, SameBytesForAnySlab) {
  const test::TempFolder folder;
  const imatrix::Imatrix imatrix = imatrix::Imatrix::load(kImatrix);
  const gguf::Reader reader(kModel);
  const plan::Resolution resolution =
      resolve(plan::Plan::parse("exps = IQ3_S\n* = Q4_K", "test.plan"), reader.tensors());
  std::string first;
  for (const uint64_t slab : {uint64_t{200000}, uint64_t{1} << 30}) {
    const std::string path = folder / std::to_string(slab);
    quantize({reader, resolution, &imatrix}, {.path = path, .slab_bytes = slab}, [](const QuantizeProgress&) {});
    if (first.empty()) first = test::read_text(path);
    EXPECT_EQ(test::read_text(path), first) << slab;
  }
}

TEST(Quantize, SourceThatChangesOnTheWayIsRefused) {
  const test::TempFolder folder;
  const std::string model = folder / "model.gguf";
  std::filesystem::copy_file(kModel, model);
  const gguf::Reader reader(model);
  const plan::Resolution resolution = resolve(plan::Plan::parse("* = Q8_0", "test.plan"), reader.tensors());
  const auto touch = [&](const QuantizeProgress& progress) {
    if (progress.tensor == 3) std::filesystem::last_write_time(model, std::filesystem::file_time_type::clock::now());
  };
  EXPECT_THROW(quantize({reader, resolution}, {.path = folder / "out.gguf"}, touch), Error);
  EXPECT_FALSE(std::filesystem::exists(folder / "out.gguf"));
}

TEST(RowEncoder, ValueThatIsNotFiniteIsNamed) {
  std::vector<float> values(4 * 64, 0.5f);
  values[2 * 64 + 5] = std::numeric_limits<float>::quiet_NaN();
  gguf::TensorInfo tensor;
  tensor.name = "blk.0.ffn_up.weight";
  tensor.n_dims = 2;
  tensor.ne = {64, 4, 1, 1};
  const RowEncoder encoder(tensor, format(formats::Type::Q8_0), nullptr, formats::Effort::kNormal, "m.gguf");
  const auto rows = [&](int64_t begin) {
    return std::as_bytes(std::span(values)).subspan(begin * 64 * sizeof(float)).data();
  };
  std::vector<std::byte> out(4 * encoder.target_row_bytes());
  encoder.encode(0, 2, rows(0), out.data());
  try {
    encoder.encode(1, 3, rows(1), out.data());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "m.gguf: tensor blk.0.ffn_up.weight holds nan in row 2, column 5");
  }
}

}  // namespace
}  // namespace steelyard::quantize
