#include "evaluate/chosen_tasks.h"

#include <algorithm>
#include <bit>
#include <map>
#include <random>

namespace steelyard::evaluate {
namespace {

// Draws `n` of `count` numbers, each once, in float arithmetic as llama-perplexity does. Like an array of all numbers
// in which the one that is drawn makes room for the last, but only places where that has happened are kept.
std::vector<size_t> draw(size_t count, size_t n) {
  std::mt19937 random(1);
  const float scale = 1.0f / (1.0f + static_cast<float>(std::mt19937::max()));
  std::map<size_t, size_t> moved;
  const auto number_at = [&](size_t place) {
    const auto found = moved.find(place);
    return found != moved.end() ? found->second : place;
  };
  std::vector<size_t> drawn;
  for (size_t left = count; drawn.size() < n; --left) {
    // Rounding to float may give the size itself.
    const auto at =
        std::min(left - 1, static_cast<size_t>(scale * static_cast<float>(random()) * static_cast<float>(left)));
    drawn.push_back(number_at(at));
    moved[at] = number_at(left - 1);
  }
  return drawn;
}

}  // namespace

ChosenTasks::ChosenTasks(size_t count, int64_t max_tasks) : size_(count) {
  if (max_tasks <= 0 || static_cast<size_t>(max_tasks) >= count) return;
  drawn_ = draw(count, static_cast<size_t>(max_tasks));
  size_ = drawn_.size();
}

Remaining::Remaining(size_t count) : size_(count), left_(count + 1) {
  for (size_t i = 1; i <= count; ++i) left_[i] = i & -i;
}

size_t Remaining::take(size_t before) {
  size_t at = 0;
  for (size_t step = std::bit_floor(left_.size() - 1); step > 0; step /= 2) {
    if (at + step >= left_.size() || left_[at + step] > before) continue;
    at += step;
    before -= left_[at];
  }
  for (size_t i = at + 1; i < left_.size(); i += i & -i) --left_[i];
  --size_;
  return at;
}

}  // namespace steelyard::evaluate
