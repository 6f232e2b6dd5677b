// Headers with many keys and tensors, among them some that collide in a hash without a secret: reading them and looking
// for each key takes time in proportion to the file.
#include <gtest/gtest.h>

#include "colliding_keys.h"
#include "gguf/layout.h"
#include "gguf/reader.h"
#include "gguf_bytes.h"
#include "growth.h"
#include "support.h"

namespace steelyard::gguf {
namespace {

std::vector<std::string> plain_keys(size_t n) {
  std::vector<std::string> keys;
  for (size_t i = 0; i < n; ++i) keys.push_back("a key with number " + std::to_string(i));
  return keys;
}

std::string keys_file(const std::vector<std::string>& keys) {
  std::string out = "GGUF" + num<uint32_t>(3) + num<uint64_t>(0) + num<uint64_t>(keys.size());
  for (const std::string& key : keys) out += kv(key, kU8, "x");
  return out;
}

std::string tensors_file(const std::vector<std::string>& names) {
  std::string out = "GGUF" + num<uint32_t>(3) + num<uint64_t>(names.size()) + num<uint64_t>(0);
  for (size_t i = 0; i < names.size(); ++i) out += tensor(names[i], {1}, 24, 32 * i);
  return out;
}

class HostileKeysTest : public testing::Test {
 protected:
  // By the number of keys or tensors.
  template <typename Bytes>
  double growth(const Bytes& bytes, std::vector<std::string> (*names)(size_t)) {
    return test::growth(
        4000,
        [&](size_t n) {
          const std::string path = folder_ / std::to_string(n);
          put(path, bytes(names(n)));
          return path;
        },
        [](const std::string& path) {
          const Reader reader(path, ReadMode::kHeader);
          size_t found = 0;
          for (const KeyValue& entry : reader.metadata().entries())
            found += reader.metadata().find(entry.key) == &entry;
          for (const TensorInfo& tensor : reader.tensors()) found += reader.find(tensor.name) == &tensor;
          EXPECT_EQ(found, reader.metadata().entries().size() + reader.tensors().size());
        });
  }

  const test::TempFolder folder_;
};

TEST_F(HostileKeysTest, KeysThatCollide) { EXPECT_LT(growth(keys_file, test::colliding_keys), test::kAboutLinear); }
TEST_F(HostileKeysTest, TensorsThatCollide) {
  EXPECT_LT(growth(tensors_file, test::colliding_keys), test::kAboutLinear);
}
TEST_F(HostileKeysTest, ManyKeys) { EXPECT_LT(growth(keys_file, plain_keys), test::kAboutLinear); }

TEST_F(HostileKeysTest, KeysAreSetAndErasedInProportion) {
  const double ratio = test::growth(2000, plain_keys, [](const std::vector<std::string>& keys) {
    Metadata metadata("a.gguf");
    for (const std::string& key : keys) metadata.set_string(key, "value");
    for (const std::string& key : keys) metadata.set_string(key, "other");
    EXPECT_EQ(metadata.entries().size(), keys.size());
    metadata.erase_all("a key");
    EXPECT_TRUE(metadata.entries().empty());
  });
  EXPECT_LT(ratio, test::kAboutLinear);
}

TEST_F(HostileKeysTest, KeysStayFoundWhenOthersGo) {
  Metadata metadata("a.gguf");
  for (const char* key : {"x.a", "y.b", "x.c", "z"}) metadata.set_string(key, key);
  metadata.erase("y.b");
  EXPECT_EQ(metadata.string("x.c"), "x.c");
  metadata.erase_all("x.");
  EXPECT_EQ(metadata.entries().size(), 1u);
  EXPECT_EQ(metadata.string("z"), "z");
  EXPECT_FALSE(metadata.contains("x.a"));
  metadata.set_string("x.a", "again");
  const Metadata copy = metadata;
  metadata.erase("x.a");
  EXPECT_EQ(copy.string("x.a"), "again");
}

// Each tensor is possible; their sum is not a number that anybody could count with.
TEST_F(HostileKeysTest, ValuesBeyondCountingAreRefused) {
  const std::string path = folder_ / "many";
  const int64_t half = int64_t{1} << 62;
  put(path, header({}, {tensor("a", {half}, 24, 0), tensor("b", {half - 1}, 24, uint64_t{1} << 62)}));
  EXPECT_EQ(error_of([&] { Reader(path, ReadMode::kHeader); }), "");
  put(path, header({}, {tensor("a", {half}, 24, 0), tensor("b", {half}, 24, uint64_t{1} << 62)}));
  EXPECT_NE(error_of([&] { Reader(path, ReadMode::kHeader); }).find("exceed 2^63 values"), std::string::npos);
}

}  // namespace
}  // namespace steelyard::gguf
