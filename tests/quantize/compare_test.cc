// Differences between two files: metadata, tensors, and errors against sums computed the slow way.
#include "quantize/compare.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "base/parallel.h"
#include "gguf/reader.h"
#include "gguf/writer.h"
#include "support.h"

namespace steelyard::quantize {
namespace {

// Writes one file tensor by tensor.
class File {
 public:
  gguf::Metadata metadata;

  void add(const std::string& name, formats::Type type, std::array<int64_t, 4> ne, std::vector<std::byte> bytes) {
    gguf::TensorInfo tensor;
    tensor.name = name;
    tensor.n_dims = ne[2] > 1 ? 3 : 2;
    tensor.ne = ne;
    tensor.type = type;
    tensors_.push_back(tensor);
    data_.push_back(std::move(bytes));
  }
  void add(const std::string& name, std::array<int64_t, 4> ne, const std::vector<float>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    add(name, formats::Type::F32, ne, {bytes.begin(), bytes.end()});
  }
  std::string write(const std::string& path) const {
    gguf::Writer writer(path, metadata, tensors_);
    for (const auto& bytes : data_) writer.append(bytes);
    writer.finish();
    return path;
  }

 private:
  std::vector<gguf::TensorInfo> tensors_;
  std::vector<std::vector<std::byte>> data_;
};

std::vector<float> wave(size_t n, double phase) {
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i) + phase));
  return values;
}

std::vector<TensorDifference> compared(const gguf::Reader& a, const gguf::Reader& b) {
  return compare(a, b, [](size_t, size_t) {});
}

TEST(CompareMetadata, AddedRemovedChanged) {
  gguf::Metadata a("a"), b("b");
  for (gguf::Metadata* metadata : {&a, &b}) {
    metadata->set_string("same", "x");
    metadata->set_integer("value", metadata == &a ? 1 : 2);
  }
  a.set_boolean("type", true);
  b.set_integer("type", 1);
  a.set_string("gone", "x");
  b.set_string("new", "x");
  std::vector<std::string> found;
  for (const MetadataDifference& difference : compare(a, b)) {
    found.push_back(difference.key() + (difference.a ? " a" : "") + (difference.b ? " b" : ""));
  }
  EXPECT_THAT(found, testing::ElementsAre("value a b", "type a b", "gone a", "new b"));
  EXPECT_TRUE(compare(a, a).empty());
}

TEST(CompareTensors, ErrorsAreThoseOfTheDefinition) {
  const test::TempFolder folder;
  // Longer than several pieces, and no multiple of anything.
  const int64_t rows = 997, columns = 331;
  const auto n = static_cast<size_t>(rows * columns);
  const std::vector<float> x = wave(n, 0), y = wave(n, 0.1);
  File a, b;
  a.add("t", {columns, rows, 1, 1}, x);
  b.add("t", {columns, rows, 1, 1}, y);
  const gguf::Reader reader_a(a.write(folder / "a.gguf")), reader_b(b.write(folder / "b.gguf"));
  const TensorDifference result = compared(reader_a, reader_b).at(0);

  long double aa = 0, bb = 0, ab = 0, dd = 0;
  double max_abs = 0;
  for (size_t i = 0; i < n; ++i) {
    const long double p = x[i], q = y[i];
    aa += p * p, bb += q * q, ab += p * q, dd += (p - q) * (p - q);
    max_abs = std::max(max_abs, std::abs(static_cast<double>(p - q)));
  }
  ASSERT_EQ(result.comparison, Comparison::kWeights);
  EXPECT_FALSE(result.same_bytes);
  EXPECT_NEAR(result.error.relative_rmse(), static_cast<double>(std::sqrt(dd / aa)), 1e-12);
  EXPECT_NEAR(result.error.cosine(), static_cast<double>(ab / std::sqrt(aa * bb)), 1e-12);
  EXPECT_EQ(result.error.max_abs, max_abs);
  EXPECT_EQ(result.error.not_finite, 0);
}

TEST(CompareTensors, EveryTypeAgainstItsOwnValues) {
  const test::TempFolder folder;
  for (const formats::Format* format : formats::all_formats()) {
    if (format->decode == nullptr || format->encoder == nullptr) continue;
    const int64_t columns = 256, rows = 40;
    const std::vector<float> values = wave(static_cast<size_t>(columns * rows), 1);
    std::vector<std::byte> bytes(*row_bytes(*format, static_cast<uint64_t>(columns * rows)));
    format->encoder->encode_row(values.data(), nullptr, columns * rows / format->block_len, formats::Effort::kFast,
                                bytes.data());
    std::vector<float> decoded(values.size());
    format->decode(bytes.data(), columns * rows / format->block_len, decoded.data());
    File a, b, c;
    a.add("t", {columns, rows, 1, 1}, values);
    b.add("t", format->type, {columns, rows, 1, 1}, bytes);
    c.add("t", {columns, rows, 1, 1}, decoded);
    const gguf::Reader source(a.write(folder / "a.gguf")), quantized(b.write(folder / "b.gguf")),
        back(c.write(folder / "c.gguf"));
    const ErrorSums error = compared(source, quantized).at(0).error;
    EXPECT_EQ(error.dd, compared(source, back).at(0).error.dd) << format->name;
    EXPECT_EQ(compared(quantized, back).at(0).error.dd, 0) << format->name;
    EXPECT_TRUE(compared(quantized, quantized).at(0).same_bytes) << format->name;
    if (format->is_quantized()) {
      EXPECT_GT(error.relative_rmse(), 0) << format->name;
    }
  }
}

TEST(CompareTensors, SumsDoNotDependOnThreads) {
  const test::TempFolder folder;
  File a, b;
  a.add("t", {64, 128, 100, 1}, wave(64 * 128 * 100, 0));
  b.add("t", {64, 128, 100, 1}, wave(64 * 128 * 100, 0.01));
  const gguf::Reader reader_a(a.write(folder / "a.gguf")), reader_b(b.write(folder / "b.gguf"));
  set_thread_count(1);
  const ErrorSums one = compared(reader_a, reader_b).at(0).error;
  for (const int threads : {2, 7}) {
    set_thread_count(threads);
    const ErrorSums many = compared(reader_a, reader_b).at(0).error;
    EXPECT_EQ(many.aa, one.aa);
    EXPECT_EQ(many.ab, one.ab);
    EXPECT_EQ(many.dd, one.dd);
  }
}

TEST(CompareTensors, WhatCannotBeCompared) {
  const test::TempFolder folder;
  File a, b;
  a.add("only_a", {4, 1, 1, 1}, {1, 2, 3, 4});
  a.add("shape", {4, 1, 1, 1}, {1, 2, 3, 4});
  a.add("ints", formats::Type::I8, {4, 1, 1, 1}, std::vector<std::byte>(4));
  b.add("ints", formats::Type::I8, {4, 1, 1, 1}, {std::byte{0}, std::byte{0}, std::byte{1}, std::byte{0}});
  b.add("shape", {2, 2, 1, 1}, {1, 2, 3, 4});
  b.add("only_b", {4, 1, 1, 1}, {1, 2, 3, 4});
  const gguf::Reader reader_a(a.write(folder / "a.gguf")), reader_b(b.write(folder / "b.gguf"));
  const auto all = compared(reader_a, reader_b);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0].comparison, Comparison::kOnlyA);
  EXPECT_EQ(all[1].comparison, Comparison::kShape);
  EXPECT_EQ(all[2].comparison, Comparison::kBytes);
  EXPECT_FALSE(all[2].same_bytes);
  EXPECT_EQ(all[3].comparison, Comparison::kOnlyB);
  EXPECT_EQ(all[3].name(), "only_b");
  EXPECT_TRUE(compared(reader_a, reader_a).at(2).same_bytes);
}

TEST(CompareTensors, ZerosAndValuesThatAreNotFinite) {
  const test::TempFolder folder;
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  File a, b;
  a.add("zeros", {4, 1, 1, 1}, {0, 0, 0, 0});
  b.add("zeros", {4, 1, 1, 1}, {0, 0, 1, 0});
  // More than one lane's width, so that both loops meet them.
  std::vector<float> x(11, 3.0f), y(11, 4.0f);
  x[2] = nan;
  y[9] = -inf;
  a.add("bad", {11, 1, 1, 1}, x);
  b.add("bad", {11, 1, 1, 1}, y);
  const gguf::Reader reader_a(a.write(folder / "a.gguf")), reader_b(b.write(folder / "b.gguf"));
  const auto all = compared(reader_a, reader_b);
  EXPECT_TRUE(std::isinf(all[0].error.relative_rmse()));
  EXPECT_EQ(all[0].error.cosine(), 0);
  EXPECT_EQ(all[1].error.not_finite, 2);
  EXPECT_EQ(all[1].error.aa, 9 * 9.0);
  EXPECT_EQ(all[1].error.dd, 9.0);
  const auto same = compared(reader_a, reader_a);
  EXPECT_EQ(same[0].error.relative_rmse(), 0);
  EXPECT_EQ(same[0].error.cosine(), 1);
}

}  // namespace
}  // namespace steelyard::quantize
