#include "gguf/block_name.h"

#include <gtest/gtest.h>

namespace steelyard::gguf {
namespace {

TEST(BlockName, NumberAndWhereItEnds) {
  EXPECT_EQ(block_of("blk.0.attn_q.weight"), 0);
  const auto name = block_name("blk.12.ffn_up_exps.weight");
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->block, 12);
  EXPECT_EQ(std::string_view("blk.12.ffn_up_exps.weight").substr(name->end), ".ffn_up_exps.weight");
  EXPECT_EQ(block_of("blk.1000000.x"), 1'000'000);
}

TEST(BlockName, OtherNames) {
  for (const char* name :
       {"", "blk", "blk.", "blk.3", "blk.3x.y", "blk..y", "blk.-1.y", "blk.-0.y", "blk.03.y", "blk.00.y", "blk.+1.y",
        "blk. 1.y", "ablk.1.y", "blk.1000001.y", "blk.99999999999999999999.y", "token_embd.weight"}) {
    EXPECT_FALSE(block_of(name).has_value()) << name;
  }
}

}  // namespace
}  // namespace steelyard::gguf
