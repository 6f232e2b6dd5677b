// Damaged and foreign files: each is one clear Error, never a crash, a wrong matrix, or memory that the file's size
// does not justify.
#include <cmath>
#include <functional>
#include <random>

#include "base/byte_writer.h"
#include "base/error.h"
#include "gguf/writer.h"
#include "imatrix/imatrix.h"
#include "support.h"

namespace steelyard::imatrix {
namespace {

// A .dat file, field by field.
class Dat {
 public:
  Dat& integer(int32_t value) { return raw(&value, sizeof(value)); }
  Dat& real(float value) { return raw(&value, sizeof(value)); }
  Dat& text(const std::string& value) {
    integer(static_cast<int32_t>(value.size()));
    return raw(value.data(), value.size());
  }
  Dat& entry(const std::string& name, const std::vector<float>& values) {
    text(name).integer(1).integer(static_cast<int32_t>(values.size()));
    return raw(values.data(), values.size() * sizeof(float));
  }
  const std::string& bytes() const { return bytes_; }

 private:
  Dat& raw(const void* data, size_t n) {
    bytes_.append(static_cast<const char*>(data), n);
    return *this;
  }
  std::string bytes_;
};

struct StoredTensor {
  std::string name;
  std::array<int64_t, gguf::kMaxDims> ne;
  std::vector<float> values;
  formats::Type type = formats::Type::F32;
};

gguf::Metadata good_metadata() {
  gguf::Metadata metadata;
  metadata.set_string("general.type", "imatrix");
  metadata.set_strings("imatrix.datasets", std::vector<std::string>{"text.txt"});
  metadata.set_integer("imatrix.chunk_count", 1);
  metadata.set_integer("imatrix.chunk_size", 8);
  return metadata;
}

std::vector<StoredTensor> good_tensors() {
  return {{"a.weight.in_sum2", {2, 2, 1, 1}, {1, 2, 3, 4}}, {"a.weight.counts", {1, 2, 1, 1}, {4, 4}}};
}

class BadFile : public ::testing::Test {
 protected:
  std::string write(const std::string& bytes) {
    const std::string path = folder_ / "imatrix";
    std::filesystem::remove(path);  // truncating in place would make some file systems wait for the disk
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  std::string write(const gguf::Metadata& metadata, const std::vector<StoredTensor>& tensors) {
    std::vector<gguf::TensorInfo> infos;
    for (const StoredTensor& tensor : tensors) {
      gguf::TensorInfo info;
      info.name = tensor.name;
      info.ne = tensor.ne;
      info.n_dims = gguf::kMaxDims;
      info.type = tensor.type;
      infos.push_back(info);
    }
    const std::string path = folder_ / "imatrix";
    gguf::Writer writer(path, metadata, infos);
    for (const StoredTensor& tensor : tensors) writer.append(std::as_bytes(std::span(tensor.values)));
    writer.finish();
    return path;
  }

  // Loading fails with one line that begins with the path and contains `expected`.
  static void expect_error(const std::string& path, const std::string& expected) {
    try {
      Imatrix::load(path);
      ADD_FAILURE() << "accepted, expected: " << expected;
    } catch (const Error& error) {
      const std::string what = error.what();
      EXPECT_TRUE(what.starts_with(path)) << what;
      EXPECT_NE(what.find(expected), std::string::npos) << what << "\nexpected: " << expected;
      EXPECT_EQ(what.find('\n'), std::string::npos) << what;
    }
  }

  void fuzz(const std::string& real, const std::string& tiny, uint64_t seed);

  test::TempFolder folder_;
};

TEST_F(BadFile, Missing) { EXPECT_THROW(Imatrix::load(folder_ / "absent"), Error); }

TEST_F(BadFile, Empty) { expect_error(write(""), "the file is empty"); }

TEST_F(BadFile, Text) { expect_error(write("This is no importance matrix.\n"), "not an imatrix"); }

TEST_F(BadFile, Model) {
  expect_error(test::golden("imatrix/deepseek2/model_Q8_0.gguf"), "expected \"imatrix\": not an imatrix");
}

TEST_F(BadFile, DatThatIsGood) {
  const Imatrix whole = Imatrix::load(write(Dat().integer(1).entry("a", {1, 2}).integer(1).text("t").bytes()));
  EXPECT_EQ(whole.entries.size(), 1u);
  const Imatrix no_dataset = Imatrix::load(write(Dat().integer(1).entry("a", {1, 2}).integer(3).bytes()));
  EXPECT_TRUE(no_dataset.datasets.empty());
  EXPECT_EQ(no_dataset.chunk_count, 3);
  const Imatrix entries_only = Imatrix::load(write(Dat().integer(1).entry("a", {1, 2}).bytes()));
  EXPECT_EQ(entries_only.chunk_count, 1);
}

TEST_F(BadFile, DatFieldByField) {
  constexpr int32_t kHuge = 0x7FFFFFFF;
  expect_error(write(Dat().integer(0).bytes()), "the number of entries: found 0, expected at least 1");
  expect_error(write(Dat().integer(-5).bytes()), "the number of entries: found -5");
  expect_error(write(Dat().integer(kHuge).entry("a", {1}).bytes()),
               "the name of entry 1: needs 4 bytes at offset 21, found 0");
  expect_error(write(Dat().integer(1).integer(-1).bytes()), "the name of entry 0: found -1, expected at least 1");
  expect_error(write(Dat().integer(1).integer(kHuge).bytes()),
               "the name of entry 0: needs 2147483647 bytes at offset 8, found 0");
  expect_error(write(Dat().integer(1).text("").bytes()), "the name of entry 0: found 0, expected at least 1");
  expect_error(write(Dat().integer(1).text("a").integer(0).integer(1).real(1).bytes()), "the number of calls: found 0");
  expect_error(write(Dat().integer(1).text("a").integer(1).integer(0).bytes()), "the number of values: found 0");
  expect_error(write(Dat().integer(1).text("a").integer(1).integer(-4).bytes()), "the number of values: found -4");
  expect_error(write(Dat().integer(1).text("a").integer(1).integer(kHuge).real(1).bytes()),
               "a: needs 2147483647 values of 4 bytes at offset 17, found 4 bytes");
  expect_error(write(Dat().integer(2).entry("a", {1}).entry("a", {1}).bytes()), "a appears twice");
  expect_error(write(Dat().integer(1).entry("a", {1}).integer(-1).bytes()), "the chunk count: found -1");
  expect_error(write(Dat().integer(1).entry("a", {1}).integer(1).integer(-1).bytes()), "the dataset: found -1");
  expect_error(write(Dat().integer(1).entry("a", {1}).integer(1).text("t").integer(0).bytes()),
               "found 4 bytes after the end, expected none");
  expect_error(write(Dat().integer(1).entry("bad\nname", {-1}).bytes()), "bad\\x0aname: sum of squares 0 is -512");
}

TEST_F(BadFile, DatValues) {
  for (const float bad : {-1.0f, NAN, INFINITY, -INFINITY}) {
    expect_error(write(Dat().integer(1).entry("a", {1, bad}).bytes()), "a: sum of squares 1 is");
  }
}

TEST_F(BadFile, DatCutAnywhere) {
  // The earliest writers stopped after the entries, later ones after the chunk count: those two cuts are whole files.
  const std::string whole = Dat().integer(2).entry("a", {1, 2}).entry("b", {3}).integer(1).text("t").bytes();
  const size_t after_dataset = whole.size();
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string path = write(whole.substr(0, size));
    if (size == after_dataset - 9 || size == after_dataset - 5) {
      EXPECT_NO_THROW(Imatrix::load(path)) << size;
    } else {
      EXPECT_THROW(Imatrix::load(path), Error) << size;
    }
  }
}

TEST_F(BadFile, GgufThatIsGood) {
  std::vector<StoredTensor> tensors = good_tensors();
  tensors.push_back({"a.weight.in_sum", {2, 2, 1, 1}, {1, 2, 3, 4}});  // statistics of other writers
  const Imatrix imatrix = Imatrix::load(write(good_metadata(), tensors));
  ASSERT_EQ(imatrix.entries.size(), 1u);
  EXPECT_EQ(imatrix.entries.at("a.weight").counts, (std::vector<int64_t>{4, 4}));
}

TEST_F(BadFile, GgufMetadata) {
  for (const std::string key : {"imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"}) {
    gguf::Metadata metadata = good_metadata();
    metadata.erase(key);
    expect_error(write(metadata, good_tensors()), key);
    metadata.set_real(key, 1.5f);
    expect_error(write(metadata, good_tensors()), key);
  }
  gguf::Metadata metadata = good_metadata();
  metadata.set_integer("imatrix.chunk_size", 0);
  expect_error(write(metadata, good_tensors()), "chunk size is 0");
  gguf::KeyValue huge{"imatrix.chunk_size", gguf::ValueType::kUint64, {}};
  ByteWriter<std::string>(huge.raw).number<uint64_t>(uint64_t{1} << 40);
  metadata.set(huge);
  expect_error(write(metadata, good_tensors()), "chunk size is 1099511627776");
  metadata = good_metadata();
  metadata.set_integer("imatrix.chunk_count", 0xFFFFFFFF);
  expect_error(write(metadata, good_tensors()), "chunk count is 4294967295");
  metadata = good_metadata();
  metadata.set_string("general.type", "model");
  expect_error(write(metadata, good_tensors()), "general.type is \"model\", expected \"imatrix\"");
}

TEST_F(BadFile, GgufTensors) {
  const auto expect_bad = [&](const std::function<void(std::vector<StoredTensor>&)>& damage,
                              const std::string& expected) {
    std::vector<StoredTensor> tensors = good_tensors();
    damage(tensors);
    expect_error(write(good_metadata(), tensors), expected);
  };
  expect_bad([](auto& t) { t.clear(); }, "the imatrix has no entries");
  expect_bad([](auto& t) { t.pop_back(); }, "a.weight.in_sum2 has no partner a.weight.counts");
  expect_bad([](auto& t) { t.erase(t.begin()); }, "a.weight.counts has no partner a.weight.in_sum2");
  expect_bad([](auto& t) { t[0].name = ".in_sum2", t[1].name = ".counts"; }, "an entry has no name");
  expect_bad([](auto& t) { t[1] = {"a.weight.counts", {1, 1, 1, 1}, {4}}; }, "expected [1, 2] beside a.weight.in_sum2");
  expect_bad([](auto& t) { t[1].ne = {2, 1, 1, 1}; }, "expected [1, 2] beside a.weight.in_sum2");
  expect_bad([](auto& t) { t[0].ne = {1, 2, 2, 1}; }, "expected [n_in, n_expert]");
  expect_bad([](auto& t) { t[0].type = formats::Type::I32; }, "a.weight.in_sum2 is I32, expected F32");
  expect_bad([](auto& t) { t[1].type = formats::Type::I32; }, "a.weight.counts is I32, expected F32");
  for (const float bad : {-1.0f, NAN, INFINITY, 0.5f, 1e30f}) {
    expect_bad([&](auto& t) { t[1].values[1] = bad; }, "a.weight.counts holds ");
  }
  expect_bad([](auto& t) { t[1].values[1] = 0x1p60f; }, "a.weight: count 1 is 1152921504606846976, expected 0 to 2^53");
  for (const float bad : {-1.0f, NAN, INFINITY}) {
    expect_bad([&](auto& t) { t[0].values[3] = bad; }, "a.weight: sum of squares 3 is ");
  }
}

TEST_F(BadFile, GgufCutAnywhere) {
  const std::string whole = test::read_text(write(good_metadata(), good_tensors()));
  const size_t data_end = whole.size() - 24;  // the last tensor's 8 bytes are padded to 32
  for (size_t size = 0; size < data_end; ++size)
    EXPECT_THROW(Imatrix::load(write(whole.substr(0, size))), Error) << size;
}

// Whatever the bytes, loading ends in a matrix that can be used, or in an Error of one line.
void expect_matrix_or_error(const std::string& path, int& n_loaded) {
  try {
    const Imatrix imatrix = Imatrix::load(path);
    ++n_loaded;
    for (const auto& [name, entry] : imatrix.entries) {
      gguf::TensorInfo info;
      info.name = name;
      info.ne = {entry.n_in, 1, entry.n_expert, 1};
      EXPECT_EQ(imatrix.importance(info, entry.n_expert - 1).size(), static_cast<size_t>(entry.n_in));
    }
    // Saving waits for the disk, so only some take that road.
    if (n_loaded % 50 != 0) return;
    for (const std::string extension : {".again.dat", ".again.gguf"}) {
      imatrix.save(path + extension);
      EXPECT_EQ(Imatrix::load(path + extension).entries.size(), imatrix.entries.size());
    }
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
}

// One to four random changes: a bit, a byte, a 32-bit extreme, or the end moved.
std::string mutate(std::string bytes, std::mt19937_64& random) {
  constexpr uint32_t kExtremes[] = {0, 1, 0x7F, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FC00000};
  for (uint64_t n = 1 + random() % 4; n > 0 && bytes.size() > 4; --n) {
    const size_t at = random() % (bytes.size() - 4);
    switch (random() % 4) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        break;
      case 1:
        bytes[at] = static_cast<char>(random());
        break;
      case 2:
        std::memcpy(bytes.data() + at, &kExtremes[random() % std::size(kExtremes)], 4);
        break;
      default:
        bytes.resize(random() % 8 == 0 ? at : bytes.size() + random() % 3);
    }
  }
  return bytes;
}

// Mostly a tiny file, where every change hits a field; now and then a real one.
void BadFile::fuzz(const std::string& real, const std::string& tiny, uint64_t seed) {
  std::mt19937_64 random(seed);
  constexpr int kRuns = 5000;
  int n_loaded = 0;
  for (int i = 0; i < kRuns; ++i) expect_matrix_or_error(write(mutate(i % 8 == 0 ? real : tiny, random)), n_loaded);
  EXPECT_GT(n_loaded, kRuns / 50);      // the changes are neither all fatal
  EXPECT_LT(n_loaded, kRuns * 9 / 10);  // nor all harmless
}

TEST_F(BadFile, FuzzDat) {
  fuzz(test::read_text(test::golden("imatrix/deepseek2/imatrix.dat")),
       Dat().integer(2).entry("a", {1, 2}).entry("b", {3}).integer(1).text("t").bytes(), 1);
}

TEST_F(BadFile, FuzzGguf) {
  fuzz(test::read_text(test::golden("imatrix/deepseek2/imatrix.gguf")),
       test::read_text(write(good_metadata(), good_tensors())), 2);
}

}  // namespace
}  // namespace steelyard::imatrix
