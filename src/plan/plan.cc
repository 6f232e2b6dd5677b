#include "plan/plan.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <numeric>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "plan/text.h"

namespace steelyard {
namespace {

// A plan is written by hand. Whoever passes a model by mistake should not wait for it to be read.
constexpr uint64_t kMaxPlanBytes = 1 << 20;

constexpr std::pair<Condition, std::string_view> kConditions[] = {
    {Condition::kImatrix, "if imatrix"},
    {Condition::kNotImatrix, "if not imatrix"},
    {Condition::kTied, "if tied"},
    {Condition::kNotTied, "if not tied"},
};

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

// Number of single-character edits between two words.
int edit_distance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 0; i < a.size(); ++i) {
    int diagonal = std::exchange(row[0], static_cast<int>(i) + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const int replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

// Types that weights can have; integer types cannot be decoded.
bool is_target(const Format& candidate) { return candidate.decode != nullptr; }

// What the writer of an unknown type may have meant: the closest names, or all when none is close.
std::string nearest_types(std::string_view word) {
  std::string near;
  std::string all;
  for (const Format* candidate : all_formats()) {
    if (!is_target(*candidate)) continue;
    // "Q4K" is a slip; "Q4_K_M" is the name of a mix where a type is expected.
    const bool is_slip = word.size() < 12 && edit_distance(lower(word), lower(candidate->name)) <= 1;
    const bool is_near = is_slip || lower(word).starts_with(lower(candidate->name) + "_");
    if (is_near) near += fmt::format("{}{}", near.empty() ? "" : " or ", candidate->name);
    all += fmt::format("{}{}", all.empty() ? "" : " ", candidate->name);
  }
  return near.empty() ? "known types: " + all : "did you mean " + near + "?";
}

std::optional<Type> parse_type(std::string_view word, const std::string& where) {
  if (word.empty()) fail(where, "no type after '='");
  if (lower(word) == "keep") return std::nullopt;
  const Format* found = find_format(word);
  if (found == nullptr) fail(where, "unknown type '{}'; {}", printable(word), nearest_types(word));
  if (!is_target(*found)) fail(where, "{} is no type for weights", found->name);
  return found->type;
}

Condition parse_condition(std::string_view words, const std::string& where) {
  std::string known;
  for (const auto& [condition, name] : kConditions) {
    if (words == name) return condition;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", name);
  }
  fail(where, "unexpected '{}' after the type; expected nothing or one of: {}", printable(words), known);
}

// A comment starts at a '#' that begins the line or follows a blank, so that a pattern may contain '#'.
std::string_view without_comment(std::string_view line) {
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '#' && (i == 0 || kBlanks.find(line[i - 1]) != std::string_view::npos)) return line.substr(0, i);
  }
  return line;
}

}  // namespace

std::string_view describe(Condition condition) {
  for (const auto& [known, name] : kConditions) {
    if (known == condition) return name;
  }
  return "";
}

std::string PlanRule::where() const { return line > 0 ? fmt::format("{}:{}", file, line) : file; }

std::string_view target_name(const PlanRule& rule) { return rule.type ? format(*rule.type).name : "keep"; }

PlanRule Plan::parse_rule(std::string_view text, const std::string& file, int line) {
  PlanRule rule{.file = file, .line = line};
  const std::string where = rule.where();
  text = trim(without_comment(text));
  if (text.find('\n') != std::string_view::npos) fail(where, "a rule is one line, found '{}'", printable(text));
  // No type or condition contains '=', so the last one splits, whatever the pattern contains.
  const size_t equals = text.rfind('=');
  if (equals == std::string_view::npos) fail(where, "expected PATTERN = TYPE, found '{}'", printable(text));
  std::string_view left = text.substr(0, equals);
  // "?=" counts only after a blank: in `weights?= Q8_0` the question mark belongs to the pattern.
  if (left.size() >= 2 && left.ends_with('?') && kBlanks.find(left[left.size() - 2]) != std::string_view::npos) {
    rule.optional = true;
    left.remove_suffix(1);
  }
  rule.pattern = trim(left);

  const std::string_view right = trim(text.substr(equals + 1));
  const size_t type_end = std::min(right.find_first_of(kBlanks), right.size());
  rule.type = parse_type(right.substr(0, type_end), where);
  const std::string_view words = trim(right.substr(type_end));
  if (!words.empty()) rule.condition = parse_condition(words, where);

  if (rule.is_base() && (rule.optional || rule.condition != Condition::kAlways)) {
    fail(where, "the base '* = TYPE' takes no condition and no '?='");
  }
  if (!rule.is_base()) Pattern(rule.pattern, where);
  return rule;
}

Plan Plan::parse(std::string_view text, const std::string& name) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  Plan plan;
  std::map<std::pair<std::string, Condition>, int> seen;
  int line_number = 0;
  for (const std::string_view line : split(text, '\n')) {
    ++line_number;
    if (trim(without_comment(line)).empty()) continue;
    PlanRule rule = parse_rule(line, name, line_number);
    const auto [first, is_new] = seen.try_emplace({rule.pattern, rule.condition}, line_number);
    if (!is_new) {
      fail(rule.where(), "`{}` stands already in line {}, so this line would never decide anything",
           printable(rule.pattern), first->second);
    }
    if (rule.is_base()) {
      plan.base_ = std::move(rule);
    } else {
      plan.rules_.push_back(std::move(rule));
    }
  }
  return plan;
}

Plan Plan::load(const std::string& path) {
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(path, error);
  if (!error && bytes > kMaxPlanBytes) fail(path, "{} bytes are too many for a plan (limit {})", bytes, kMaxPlanBytes);
  return parse(read_file(path), path);
}

Plan Plan::preset(const std::string& plans_folder, const std::string& name) {
  const std::string folder = plans_folder + "/presets";
  std::error_code error;
  std::vector<std::string> known;
  // Names are compared with what is in the folder and never become part of a path.
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() != ".plan") continue;
    if (lower(entry.path().stem().string()) == lower(name)) return load(entry.path().string());
    known.push_back(entry.path().stem().string());
  }
  if (known.empty()) fail(folder, "no presets found");
  std::sort(known.begin(), known.end());
  std::string list;
  for (const std::string& preset : known) list += " " + preset;
  fail("preset '" + printable(name) + "'", "unknown; there are:{}", list);
}

Plan Plan::uniform(Type type) {
  Plan plan;
  plan.base_ = PlanRule{.pattern = "*", .type = type, .file = "command line"};
  return plan;
}

void Plan::prepend(const std::vector<PlanRule>& rules) {
  const auto same = [](const PlanRule& a, const PlanRule& b) {
    return a.pattern == b.pattern && a.condition == b.condition;
  };
  std::vector<PlanRule> merged;
  for (const PlanRule& rule : rules) {
    for (const PlanRule& earlier : rules) {
      if (&earlier == &rule) break;
      if (same(earlier, rule)) fail(rule.where(), "`{}` is given twice", printable(rule.pattern));
    }
    if (rule.is_base()) {
      base_ = rule;
    } else {
      merged.push_back(rule);
    }
  }
  const auto replaced = [&](const PlanRule& old) {
    return std::any_of(merged.begin(), merged.end(), [&](const PlanRule& rule) { return same(rule, old); });
  };
  std::erase_if(rules_, replaced);
  rules_.insert(rules_.begin(), merged.begin(), merged.end());
}

std::string Plan::text() const {
  std::string result;
  const auto add = [&](const PlanRule& rule) {
    result += fmt::format("{} {} {}", rule.pattern, rule.optional ? "?=" : "=", target_name(rule));
    if (rule.condition != Condition::kAlways) result += fmt::format(" {}", describe(rule.condition));
    result += '\n';
  };
  for (const PlanRule& rule : rules_) add(rule);
  if (base_) add(*base_);
  return result;
}

}  // namespace steelyard
