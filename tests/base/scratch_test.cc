// Memory to work in: where it begins, and that what was written stays as long as the memory need not grow. (That it is
// not filled cannot be seen from outside.)
#include <gtest/gtest.h>

#include <cstdint>

#include "base/scratch_buffer.h"

namespace steelyard {
namespace {

TEST(Scratch, BeginsAtACacheLineAndMovesOnlyToGrow) {
  ScratchBuffer<float> memory;
  EXPECT_EQ(memory.data(), nullptr);
  float* first = memory.reserve(100);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
  for (int i = 0; i < 100; ++i) first[i] = static_cast<float>(i);

  EXPECT_EQ(memory.reserve(10), first);
  EXPECT_EQ(memory.reserve(100), first);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(first[i], static_cast<float>(i)) << "filled again at " << i;

  float* larger = memory.reserve(1 << 20);
  EXPECT_EQ(memory.data(), larger);
  larger[(1 << 20) - 1] = 1.0f;  // a sanitizer sees whether it is there
}

}  // namespace
}  // namespace steelyard
