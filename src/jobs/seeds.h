// Seeds of whatever is drawn at random: a number gives the same each time, -1 another one each time.
#pragma once

#include <cstdint>
#include <string_view>

namespace steelyard::jobs {

inline constexpr int64_t kRandomSeed = -1;

/// The seed of a run, drawn where it is kRandomSeed. `goes_on`: the run may go on with what an earlier one began, which
/// had a seed of its own. Error for numbers below, and for kRandomSeed where the run goes on.
int64_t chosen_seed(int64_t seed, std::string_view flag, bool goes_on = false);

}  // namespace steelyard::jobs
