// Reads the three task files and chooses the tasks to use. Layouts, the choice of tasks and the scored part of an
// answer are those of llama-perplexity (tools/perplexity/perplexity.cpp of llama.cpp).
#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <optional>
#include <random>
#include <string_view>

#include "base/atomic_file.h"
#include "base/byte_reader.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/text_file.h"
#include "evaluate/choice.h"
#include "evaluate/chosen_tasks.h"

namespace steelyard::evaluate {
namespace {

std::vector<tokenizer::TokenId> encode(const tokenizer::Tokenizer& tokenizer, const std::string& text) {
  return tokenizer.encode(text, /*add_special=*/true, /*parse_special=*/false);
}

// A question is repeated in every candidate. So the first that is too long is the last that takes memory.
void refuse_longer(const Candidate& candidate, int64_t n_ctx, const std::string& path, size_t number) {
  const auto n = std::ssize(candidate.ids);
  if (n > n_ctx) fail(path, "task {} has {} tokens, more than the context of {}", number, n, n_ctx);
}

// Tokens with which all candidates begin.
int64_t common_prefix(const ChoiceTask& task) {
  size_t n = task[0].ids.size();
  for (const Candidate& candidate : task) {
    const auto differing = std::ranges::mismatch(task[0].ids, candidate.ids);
    n = std::min(n, static_cast<size_t>(differing.in1 - task[0].ids.begin()));
  }
  return static_cast<int64_t>(n);
}

// Scores what follows the common beginning: at least one token of every candidate, and never the first, because nothing
// predicts it.
void score_endings(ChoiceTask& task, const std::string& path, size_t number) {
  int64_t shortest = std::ssize(task[0].ids);
  for (const Candidate& candidate : task) shortest = std::min<int64_t>(shortest, std::ssize(candidate.ids));
  const int64_t first = std::max<int64_t>(1, std::min(common_prefix(task), shortest - 1));
  if (shortest < 2) fail(path, "task {} has an answer of {} tokens, expected at least 2", number, shortest);
  for (Candidate& candidate : task) {
    candidate.first = first;
    candidate.end = std::ssize(candidate.ids);
  }
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    if (lines.back().ends_with('\r')) lines.back().pop_back();
    begin = end + 1;
  }
  return lines;
}

// The whole of `text` as a number in [low, high], or nothing.
std::optional<int64_t> number_in(std::string_view text, int64_t low, int64_t high) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\r')) text.remove_suffix(1);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) return std::nullopt;
  return value;
}

struct WinograndeLine {
  std::string before, after;  // the blank
  std::array<std::string, 2> words;
  int64_t answer;  // 1 or 2
};

WinograndeLine parse_winogrande(const std::string& line, const std::string& path, size_t number) {
  std::vector<size_t> commas;
  bool quoted = false;
  for (size_t i = 0; i < line.size() && commas.size() < 4; ++i) {
    if (line[i] == '"')
      quoted = !quoted;
    else if (line[i] == ',' && !quoted)
      commas.push_back(i);
  }
  if (commas.size() < 4) fail(path, "line {} has {} fields, expected 5", number, commas.size() + 1);
  const auto field = [&](size_t i) { return line.substr(commas[i] + 1, commas[i + 1] - commas[i] - 1); };
  std::string sentence = field(0);
  if (sentence.size() >= 2 && sentence.front() == '"' && sentence.back() == '"') {
    sentence = sentence.substr(1, sentence.size() - 2);
  }
  const size_t blank = sentence.find('_');
  if (blank == std::string::npos) fail(path, "line {} has no _ in its sentence", number);
  const std::string last = line.substr(commas[3] + 1);
  const auto answer = number_in(last, 1, 2);
  if (!answer) fail(path, "line {} has the answer {}, expected 1 or 2", number, printable(last));
  return {sentence.substr(0, blank), sentence.substr(blank + 1), {field(1), field(2)}, *answer};
}

// Scores what follows the word, without the last token, which is mostly a full stop. Where three tokens or fewer
// follow, the word is scored as well.
ChoiceTask winogrande_task(const WinograndeLine& line, const tokenizer::Tokenizer& tokenizer, const std::string& path,
                           size_t number) {
  constexpr int64_t kMinTrailing = 3;
  ChoiceTask task;
  for (const std::string& word : line.words) {
    task.push_back({encode(tokenizer, line.before + word + line.after), 0, 0, false});
  }
  task[static_cast<size_t>(line.answer - 1)].correct = true;
  const int64_t common = common_prefix(task);
  const bool skip_word = std::ranges::all_of(
      task, [&](const Candidate& candidate) { return std::ssize(candidate.ids) - common > kMinTrailing; });
  for (size_t i = 0; i < task.size(); ++i) {
    const auto n = std::ssize(task[i].ids);
    const int64_t begin = skip_word ? std::ssize(encode(tokenizer, line.before + line.words[i])) : common;
    task[i].end = n - begin > 1 ? n - 1 : n;
    task[i].first = std::max<int64_t>(begin, 1);
    if (task[i].first >= task[i].end) fail(path, "line {} leaves no token to score", number);
  }
  return task;
}

struct Answers {
  std::vector<std::string> texts;
  std::vector<uint32_t> labels;  // 1: right
};

// Of a file's tasks, the bytes of each. Positions may lead anywhere, but two tasks must not share bytes: a file of some
// kilobytes could have millions of long tasks otherwise.
class TaskBytes {
 public:
  void add(size_t task, uint64_t begin, uint64_t end) { tasks_.push_back({begin, end, task}); }

  void refuse_shared(const std::string& path) {
    std::ranges::sort(tasks_, {}, &Range::begin);
    for (size_t i = 1; i < tasks_.size(); ++i) {
      if (tasks_[i].begin >= tasks_[i - 1].end) continue;
      const auto [first, second] = std::minmax(tasks_[i - 1].task, tasks_[i].task);
      fail(path, "tasks {} and {} lie in the same bytes", first + 1, second + 1);
    }
  }

 private:
  struct Range {
    uint64_t begin, end;
    size_t task;
  };
  std::vector<Range> tasks_;
};

uint32_t answer_count(ByteReader& in) {
  constexpr uint32_t kMost = 100;
  const auto n = in.number<uint32_t>();
  if (n > kMost) in.reject("found {} answers, expected at most {}", n, kMost);
  return n;
}

// Whether there are any.
bool skip_answers(ByteReader& in) {
  const uint32_t n = answer_count(in);
  for (uint32_t i = 0; i < n; ++i) in.string<uint32_t>();
  in.bytes(n * sizeof(uint32_t));
  return n > 0;
}

Answers read_answers(ByteReader& in) {
  const uint32_t n = answer_count(in);
  Answers answers;
  for (uint32_t i = 0; i < n; ++i) answers.texts.emplace_back(in.string<uint32_t>());
  for (uint32_t i = 0; i < n; ++i) answers.labels.push_back(in.number<uint32_t>());
  return answers;
}

}  // namespace

std::vector<ChoiceTask> load_hellaswag(const std::string& path, const tokenizer::Tokenizer& tokenizer,
                                       int64_t max_tasks, int64_t n_ctx) {
  constexpr size_t kLines = 6, kEndings = 4;
  const std::vector<std::string> lines = lines_of(read_text_file(path));
  if (lines.empty() || lines.size() % kLines != 0) {
    fail(path, "has {} lines, expected a multiple of {}", lines.size(), kLines);
  }
  Remaining left(lines.size() / kLines);
  const size_t n = max_tasks > 0 ? std::min(left.size(), static_cast<size_t>(max_tasks)) : left.size();
  std::mt19937 random(1);
  std::vector<ChoiceTask> tasks;
  for (size_t i = 0; i < n; ++i) {
    // Always drawn, even when all are used: the order decides what the running scores show.
    const size_t number = left.take(std::uniform_int_distribution<size_t>(0, left.size() - 1)(random));
    const auto line = [&](size_t l) -> const std::string& { return lines[number * kLines + l]; };
    const auto label = number_in(line(1), 0, kEndings - 1);
    if (!label) fail(path, "line {} is {}, expected the number of an ending", number * kLines + 2, printable(line(1)));
    ChoiceTask task;
    for (size_t e = 0; e < kEndings; ++e) {
      task.push_back({encode(tokenizer, line(0) + " " + line(2 + e)), 0, 0, static_cast<int64_t>(e) == *label});
      refuse_longer(task.back(), n_ctx, path, number + 1);
    }
    score_endings(task, path, number + 1);
    tasks.push_back(std::move(task));
  }
  return tasks;
}

std::vector<ChoiceTask> load_winogrande(const std::string& path, const tokenizer::Tokenizer& tokenizer,
                                        int64_t max_tasks, int64_t n_ctx) {
  const std::vector<std::string> lines = lines_of(read_text_file(path));
  if (lines.empty()) fail(path, "has no tasks");
  std::vector<WinograndeLine> parsed;
  for (const std::string& line : lines) parsed.push_back(parse_winogrande(line, path, parsed.size() + 1));
  std::vector<ChoiceTask> tasks;
  const ChosenTasks chosen(parsed.size(), max_tasks);
  for (size_t c = 0; c < chosen.size(); ++c) {
    tasks.push_back(winogrande_task(parsed[chosen[c]], tokenizer, path, chosen[c] + 1));
    for (const Candidate& candidate : tasks.back()) refuse_longer(candidate, n_ctx, path, chosen[c] + 1);
  }
  return tasks;
}

std::vector<ChoiceTask> load_multiple_choice(const std::string& path, const tokenizer::Tokenizer& tokenizer,
                                             int64_t max_tasks, int64_t n_ctx) {
  // A pipe is read to its end; a file may be larger than memory.
  std::error_code ignored;
  std::optional<MappedFile> file;
  std::string piped;
  if (path != "-" && std::filesystem::is_regular_file(path, ignored))
    file.emplace(path);
  else
    piped = read_file(path);
  ByteReader in(file ? file->bytes() : std::as_bytes(std::span(piped)), path);
  in.set_subject("the number of tasks");
  const auto count = in.number<uint32_t>(1);
  in.set_subject("the positions of the tasks");
  const auto positions = in.bytes(count * sizeof(uint32_t));
  const ChosenTasks chosen(count, max_tasks);
  std::vector<uint64_t> begins;
  TaskBytes bytes;
  for (size_t c = 0; c < chosen.size(); ++c) {
    const size_t i = chosen[c];
    in.set_subject(fmt::format("task {}", i + 1));
    if (!chosen.are_all()) in.seek(load_number<uint32_t>(positions.data() + i * sizeof(uint32_t)));
    begins.push_back(in.position());
    const bool has_question = !in.string<uint32_t>().empty(), has_answers = skip_answers(in);
    if (!has_question || !has_answers) fail(path, "task {} has no question or no answers", i + 1);
    skip_answers(in);  // the ones with several right answers
    bytes.add(i, begins.back(), in.position());
  }
  bytes.refuse_shared(path);
  std::vector<ChoiceTask> tasks;
  for (size_t c = 0; c < chosen.size(); ++c) {
    const size_t i = chosen[c];
    in.seek(begins[c]);
    const std::string question(in.string<uint32_t>());
    const Answers answers = read_answers(in);
    check_text(question, fmt::format("{}: the question of task {}", path, i + 1));
    ChoiceTask task;
    for (size_t a = 0; a < answers.texts.size(); ++a) {
      if (answers.texts[a].empty()) fail(path, "task {} has an empty answer", i + 1);
      check_text(answers.texts[a], fmt::format("{}: an answer of task {}", path, i + 1));
      task.push_back({encode(tokenizer, question + " " + answers.texts[a]), 0, 0, answers.labels[a] == 1});
      refuse_longer(task.back(), n_ctx, path, i + 1);
    }
    score_endings(task, path, i + 1);
    tasks.push_back(std::move(task));
  }
  return tasks;
}

}  // namespace steelyard::evaluate
