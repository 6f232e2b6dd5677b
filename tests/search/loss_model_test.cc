// What a choice of types loses, and the choice that loses least.
#include "search/loss_model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace steelyard::search {
namespace {

constexpr formats::Type kTypes[] = {formats::Type::IQ2_S, formats::Type::IQ3_S, formats::Type::Q4_K,
                                    formats::Type::Q6_K};

// Tensors whose errors fall by a half to an eighth per type.
std::vector<TensorDamage> made_up(Random& random, int n_tensors, bool jumps) {
  std::vector<TensorDamage> damages;
  for (int t = 0; t < n_tensors; ++t) {
    TensorDamage tensor{"t" + std::to_string(t), {}};
    double smooth = random.uniform(), jump = jumps ? random.uniform() : 0;
    uint64_t bytes = 0;
    for (const formats::Type type : kTypes) {
      bytes += 1 + static_cast<uint64_t>(random.below(9));
      tensor.types.push_back({type, bytes, smooth, jump});
      const double factor = 0.125 + 0.375 * random.uniform();
      smooth *= factor;
      jump *= factor;
    }
    damages.push_back(std::move(tensor));
  }
  return damages;
}

Types types_at(const std::vector<TensorDamage>& damages, int code) {
  Types types;
  for (const TensorDamage& tensor : damages) {
    types[tensor.tensor] = kTypes[code % 4];
    code /= 4;
  }
  return types;
}

uint64_t bytes_of(const std::vector<TensorDamage>& damages, const Types& types) {
  uint64_t sum = 0;
  for (const TensorDamage& tensor : damages) {
    for (const Damage& damage : tensor.types) sum += damage.type == types.at(tensor.tensor) ? damage.bytes : 0;
  }
  return sum;
}

TEST(LossModelTest, SmoothLossesAddUpAndJumpsDoAsSquares) {
  const std::vector<TensorDamage> damages = {{"a", {{kTypes[0], 1, 0.5, 9}}}, {"b", {{kTypes[1], 1, 0.25, 16}}}};
  const Divergence sum = divergence(damages, {{"a", kTypes[0]}, {"b", kTypes[1]}});
  EXPECT_DOUBLE_EQ(sum.smooth, 0.75);
  EXPECT_DOUBLE_EQ(sum.jumps, 5);
  EXPECT_DOUBLE_EQ(sum.sum(), 5.75);
}

TEST(LossModelTest, AllocatesAsWellAsTryingAll) {
  constexpr int kTensors = 5, kAll = 4 * 4 * 4 * 4 * 4;
  Random random(1);
  for (int problem = 0; problem < 200; ++problem) {
    const bool jumps = problem % 2 == 1;
    const std::vector<TensorDamage> damages = made_up(random, kTensors, jumps);
    const uint64_t least = bytes_of(damages, types_at(damages, 0)),
                   most = bytes_of(damages, types_at(damages, kAll - 1));
    const uint64_t budget = least + static_cast<uint64_t>(random.below(static_cast<int64_t>(most - least + 1)));
    double best = INFINITY;
    for (int code = 0; code < kAll; ++code) {
      const Types types = types_at(damages, code);
      if (bytes_of(damages, types) <= budget) best = std::min(best, divergence(damages, types).sum());
    }
    const Types found = allocate_types(damages, types_at(damages, 0), budget);
    EXPECT_LE(bytes_of(damages, found), budget);
    // Without jumps it is a sum, and exact. A tangent may end beside the best.
    EXPECT_LE(divergence(damages, found).sum(), best * (jumps ? 1.05 : 1 + 1e-9)) << problem;
  }
}

TEST(LossModelTest, OtherTensorsStay) {
  Random random(2);
  const std::vector<TensorDamage> damages = made_up(random, 2, true);
  const Types found = allocate_types(damages, {{"output.weight", formats::Type::Q8_0}}, 1000);
  EXPECT_EQ(found.at("output.weight"), formats::Type::Q8_0);
  EXPECT_EQ(found.at("t0"), kTypes[3]);
  EXPECT_EQ(found.at("t1"), kTypes[3]);
}

}  // namespace
}  // namespace steelyard::search
