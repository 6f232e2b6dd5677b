// What a choice of types loses, and the choice that loses least.
#include "search/loss_model.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "error_of.h"

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
    const Types found = allocate_types(damages, {.budgets = {budget}});
    EXPECT_LE(bytes_of(damages, found), budget);
    // Without jumps it is a sum, and exact. A tangent may end beside the best.
    EXPECT_LE(divergence(damages, found).sum(), best * (jumps ? 1.05 : 1 + 1e-9)) << problem;
  }
}

gguf::TensorInfo tensor(const std::string& name, formats::Type type) {
  gguf::TensorInfo info{.name = name, .n_dims = 2, .ne = {256, 4, 1, 1}, .type = type};
  info.n_bytes = gguf::tensor_bytes(format(type), info.ne).value();
  return info;
}

TEST(LossModelTest, AllTensorsHaveDamages) {
  using enum formats::Type;
  const std::vector<gguf::TensorInfo> tensors = {tensor("a", F32), tensor("b", F32), tensor("c", F32),
                                                 tensor("d", F32)};
  const std::vector<TensorDamage> known = {{"b", {{Q4_K, 576, 0.5, 1}, {Q6_K, 840, 0.1, 0.2}}},
                                           {"c", {{Q4_K, 576, 0.7, 2}, {Q6_K, 840, 0.2, 0.3}}}};
  const std::vector<TensorDamage> all = with_all_tensors(tensors, known, {{"c", Q6_K}, {"d", Q8_0}}, {{"a", Q5_K}});
  ASSERT_EQ(all.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(all[i].tensor, tensors[i].name);
  EXPECT_EQ(all[1].types.size(), 2u);
  for (const size_t i : {0, 2, 3}) ASSERT_EQ(all[i].types.size(), 1u);
  EXPECT_EQ(all[0].types[0].type, Q5_K);
  EXPECT_EQ(all[0].types[0].bytes, 704u);
  EXPECT_EQ(all[0].types[0].smooth, 0);
  EXPECT_EQ(all[2].types[0].smooth, 0.2);
  EXPECT_EQ(all[2].types[0].jumps, 0.3);
  EXPECT_EQ(all[3].types[0].bytes, 1088u);
}

TEST(LossModelTest, TiedTensorsGetOneTypeAndPartsKeepTheirBudgets) {
  constexpr int kTensors = 6, kAll = 4 * 4 * 4 * 4 * 4 * 4;
  Random random(3);
  for (int problem = 0; problem < 60; ++problem) {
    const std::vector<TensorDamage> damages = made_up(random, kTensors, problem % 2 == 1);
    // Three tensors in each part; the first two of the second part are tied.
    ChoiceLimits limits{.budgets = {0, 0}, .parts = {{"t3", 1}, {"t4", 1}, {"t5", 1}}, .ties = {{"t3", "t4"}}};
    const std::vector<TensorDamage> parts[] = {{damages.begin(), damages.begin() + 3},
                                               {damages.begin() + 3, damages.end()}};
    for (size_t part = 0; part < 2; ++part) {
      const uint64_t least = bytes_of(parts[part], types_at(parts[part], 0)),
                     most = bytes_of(parts[part], types_at(parts[part], 63));
      limits.budgets[part] = least + static_cast<uint64_t>(random.below(static_cast<int64_t>(most - least + 1)));
    }
    double best = INFINITY;
    for (int code = 0; code < kAll; ++code) {
      const Types types = types_at(damages, code);
      if (types.at("t3") != types.at("t4") || bytes_of(parts[0], types) > limits.budgets[0] ||
          bytes_of(parts[1], types) > limits.budgets[1])
        continue;
      best = std::min(best, divergence(damages, types).sum());
    }
    const Types found = allocate_types(damages, limits);
    EXPECT_EQ(found.at("t3"), found.at("t4"));
    for (size_t part = 0; part < 2; ++part) EXPECT_LE(bytes_of(parts[part], found), limits.budgets[part]);
    EXPECT_LE(divergence(damages, found).sum(), best * 1.05) << problem;
  }
}

TEST(LossModelTest, TiesWithoutACommonTypeAreRefused) {
  const std::vector<TensorDamage> damages = {{"a", {{kTypes[0], 1, 0.5, 0}}}, {"b", {{kTypes[1], 1, 0.5, 0}}}};
  EXPECT_EQ(test::error_of([&] {
              allocate_types(damages, {.budgets = {10}, .ties = {{"a", "b"}}});
            }),
            "a and b are tied and have no type in common");
}

}  // namespace
}  // namespace steelyard::search
