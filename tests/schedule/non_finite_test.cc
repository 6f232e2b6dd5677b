// A NaN in the weights is named by the block where it first reaches the residual stream.
#include "schedule/non_finite.h"

#include <gtest/gtest.h>

#include <limits>

#include "gguf/reader.h"
#include "model_copy.h"
#include "support.h"

namespace steelyard::schedule {
namespace {

std::string place(const std::string& tensor, size_t index, float value) {
  const test::TempFolder folder;
  test::ModelCopy copy(test::golden("models/mixtral/model.gguf"));
  if (!tensor.empty()) copy.set_value(tensor, index, value);
  copy.save(folder / "model.gguf");
  const gguf::Reader reader(folder / "model.gguf");
  const auto backend = compute::make_backend("cpu");
  const model::Model model(reader, *backend);
  return first_non_finite(model, std::vector<int32_t>{5, 6, 7, 8});
}

TEST(NonFinite, IsNamedByItsPlace) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(place("token_embd.weight", 64 * 7 + 3, kNan), "the token embeddings at position 2");
  EXPECT_EQ(place("blk.0.attn_norm.weight", 0, kNan), "block 0 at position 0");
  EXPECT_EQ(place("blk.1.ffn_norm.weight", 9, kInfinity), "block 1 at position 0");
  EXPECT_EQ(place("blk.1.attn_v.weight", 9, kNan), "block 1 at position 0");
  EXPECT_EQ(place("output_norm.weight", 1, kNan), "the output head at position 0");
  EXPECT_EQ(place("", 0, 0), "no place when the text runs alone");
}

}  // namespace
}  // namespace steelyard::schedule
