// Task files that are made to cost more than their size: tasks that share bytes, many tasks, questions that no context
// holds. And the choice of tasks, which is that of a plain list.
#include <gmock/gmock.h>

#include <numeric>
#include <random>

#include "base/atomic_file.h"
#include "error_of.h"
#include "evaluate/choice.h"
#include "gguf/reader.h"
#include "growth.h"
#include "support.h"

namespace steelyard::evaluate {
namespace {

using testing::HasSubstr;

template <typename T>
std::string num(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}
std::string str(const std::string& text) { return num(static_cast<uint32_t>(text.size())) + text; }

// A question with its answers, of which the first is right; none with several right answers.
std::string task(const std::string& question, const std::vector<std::string>& answers) {
  std::string out = str(question) + num(static_cast<uint32_t>(answers.size()));
  for (const std::string& answer : answers) out += str(answer);
  for (size_t i = 0; i < answers.size(); ++i) out += num(static_cast<uint32_t>(i == 0));
  return out + num(uint32_t{0});
}

class ChoiceFilesTest : public testing::Test {
 protected:
  std::string save(const std::string& name, const std::string& bytes) const {
    write_file(folder_ / name, bytes);
    return folder_ / name;
  }
  std::string failure(const std::string& bytes, int64_t max_tasks, int64_t n_ctx = 512) const {
    const std::string path = save("tasks", bytes);
    return test::error_of([&] { load_multiple_choice(path, tokenizer_, max_tasks, n_ctx); });
  }

  const test::TempFolder folder_;
  const tokenizer::Tokenizer tokenizer_{
      gguf::Reader(test::golden("models/llama/model.gguf"), gguf::ReadMode::kHeader).metadata()};
};

TEST_F(ChoiceFilesTest, TasksMustNotShareBytes) {
  constexpr uint32_t kTasks = 4;
  std::string positions;
  for (uint32_t i = 0; i < kTasks; ++i) positions += num(uint32_t{4 + 4 * kTasks});
  const std::string bytes = num(kTasks) + positions + task("a question", {"yes", "no"});
  EXPECT_THAT(failure(bytes, kTasks - 1), HasSubstr("lie in the same bytes"));
  // A task within another's question.
  const std::string inner = task("inner", {"yes", "no"}), outer = task("some words " + inner, {"yes", "no"});
  const uint32_t first = 4 + 4 * 3, second = first + 4 + 11;
  const auto nested = num(uint32_t{3}) + num(first) + num(second) + num(second) + outer;
  EXPECT_THAT(failure(nested, 2), HasSubstr("lie in the same bytes"));
}

TEST_F(ChoiceFilesTest, TasksInAnyOrder) {
  const std::string one = task("one", {"yes", "no"}), two = task("and two", {"yes", "no", "maybe"});
  const uint32_t first = 4 + 4 * 3, second = first + static_cast<uint32_t>(one.size());
  const auto bytes =
      num(uint32_t{3}) + num(second) + num(first) + num(static_cast<uint32_t>(second + two.size())) + one + two + one;
  EXPECT_EQ(load_multiple_choice(save("tasks", bytes), tokenizer_, 2).size(), 2u);
}

TEST_F(ChoiceFilesTest, QuestionsBeyondTheContextAreRefusedAtTheFirstAnswer) {
  const std::string bytes = num(uint32_t{1}) + num(uint32_t{8}) + task(std::string(5000, 'x') + " y", {"yes", "no"});
  EXPECT_THAT(failure(bytes, 0, 64), HasSubstr("more than the context of 64"));
  EXPECT_EQ(failure(bytes, 0, 50000), "");
}

// The number of tasks is believed only as far as there are bytes for them.
TEST_F(ChoiceFilesTest, MoreTasksThanBytes) {
  for (const uint32_t count : {9u, 1000000000u, 4294967295u}) {
    EXPECT_NE(failure(num(count) + num(uint32_t{8}) + task("q", {"a", "b"}), 0), "") << count;
    EXPECT_NE(failure(num(count) + num(uint32_t{8}) + task("q", {"a", "b"}), 1), "") << count;
  }
}

// As if the tasks that are left were a list from which the drawn ones are taken.
TEST_F(ChoiceFilesTest, HellaswagTakesTasksInTheOrderOfAList) {
  constexpr size_t kTasks = 300;
  std::string text;
  for (size_t i = 0; i < kTasks; ++i) {
    // The number of words tells the task.
    text += "a" + std::string(i % 40, 'b') + "\n0\n" + std::to_string(i) + " one\n" + std::to_string(i) +
            " two\nx y\nz w\n";
  }
  std::vector<size_t> left(kTasks);
  std::iota(left.begin(), left.end(), size_t{0});
  std::mt19937 random(1);
  const std::vector<ChoiceTask> tasks = load_hellaswag(save("tasks", text), tokenizer_, 0);
  ASSERT_EQ(tasks.size(), kTasks);
  for (const ChoiceTask& task : tasks) {
    const size_t drawn = std::uniform_int_distribution<size_t>(0, left.size() - 1)(random);
    const size_t number = left[drawn];
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(drawn));
    const std::string expected = "a" + std::string(number % 40, 'b') + " " + std::to_string(number) + " one";
    EXPECT_EQ(task[0].ids, tokenizer_.encode(expected, true, false)) << number;
  }
}

TEST_F(ChoiceFilesTest, TimeGrowsWithTheTasks) {
  const double ratio = test::growth(
      1000,
      [&](size_t n) {
        std::string text;
        for (size_t i = 0; i < n; ++i) text += "a\n0\nb\nc\nd\ne\n";
        return save("hellaswag" + std::to_string(n), text);
      },
      [&](const std::string& path) { load_hellaswag(path, tokenizer_, 0); });
  EXPECT_LT(ratio, test::kAboutLinear);
}

}  // namespace
}  // namespace steelyard::evaluate
