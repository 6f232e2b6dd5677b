#include "jobs/seeds.h"

#include <random>

#include "base/error.h"

namespace steelyard::jobs {

int64_t chosen_seed(int64_t seed, std::string_view flag, bool goes_on) {
  if (seed < kRandomSeed) fail("", "{} must be at least 0, or -1 for another one each time", flag);
  if (seed != kRandomSeed) return seed;
  if (goes_on) fail("", "{} -1 and --resume cannot be combined: a run goes on with the seed that it began with", flag);
  // Short enough to be typed.
  return static_cast<int64_t>(std::random_device()());
}

}  // namespace steelyard::jobs
