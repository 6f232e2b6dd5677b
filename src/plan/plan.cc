#include "plan/plan.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "base/edit_distance.h"
#include "base/error.h"
#include "base/text_file.h"
#include "plan/plan_names.h"
#include "plan/text.h"

namespace steelyard::plan {
namespace {

// A plan is written by hand. This limit refuses a model file that is passed by mistake, before it is read.
constexpr uint64_t kMaxPlanBytes = 1 << 20;
// Each may be asked about each tensor of a model. A model with a rule for every tensor has some thousands.
constexpr size_t kMostRules = 16384;

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

// Types of weights; integer types cannot be decoded.
bool is_target(const formats::Format& candidate) { return candidate.decode != nullptr; }

// What the author of an unknown type may have meant: the closest names, or all when none is close.
std::string nearest_types(std::string_view word) {
  std::string near;
  std::string all;
  for (const formats::Format* candidate : formats::all_formats()) {
    if (!is_target(*candidate)) continue;
    // "Q4K" is a typing error; "Q4_K_M" is the name of a mix where a type is expected.
    const bool is_slip = word.size() < 12 && edit_distance(lower(word), lower(candidate->name)) <= 1;
    const bool is_near = is_slip || lower(word).starts_with(lower(candidate->name) + "_");
    if (is_near) near += fmt::format("{}{}", near.empty() ? "" : " or ", candidate->name);
    all += fmt::format("{}{}", all.empty() ? "" : " ", candidate->name);
  }
  return near.empty() ? "known types: " + all : "did you mean " + near + "?";
}

std::optional<formats::Type> parse_type(std::string_view word, const std::string& where) {
  if (word.empty()) fail(where, "no type after '='");
  if (lower(word) == "keep") return std::nullopt;
  const formats::Format* found = formats::find_format(word);
  if (found == nullptr) fail(where, "unknown type '{}'; {}", printable(word), nearest_types(word));
  if (!is_target(*found)) fail(where, "{} is no type for weights", found->name);
  return found->type;
}

// Position of the word `if` that begins the condition: the last one behind an equals sign; the end when there is none.
size_t condition_begin(std::string_view line) {
  const size_t first_equals = line.find('=');
  for (size_t at = line.rfind("if"); at != std::string_view::npos && at > first_equals; at = line.rfind("if", at - 1)) {
    const auto is_blank = [&](size_t i) { return i >= line.size() || kBlanks.find(line[i]) != std::string_view::npos; };
    if (is_blank(at - 1) && is_blank(at + 2)) return at;
  }
  return line.size();
}

std::string read_plan_file(const std::string& path) {
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(path, error);
  if (!error && bytes > kMaxPlanBytes) fail(path, "{} bytes are too many for a plan (limit {})", bytes, kMaxPlanBytes);
  return read_text_file(path);
}

// A comment starts at a '#' that begins the line or follows a blank, so that a pattern may contain '#'.
std::string_view without_comment(std::string_view line) {
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '#' && (i == 0 || kBlanks.find(line[i - 1]) != std::string_view::npos)) return line.substr(0, i);
  }
  return line;
}

}  // namespace

std::string PlanRule::where() const { return line > 0 ? fmt::format("{}:{}", file, line) : file; }

std::string_view target_name(const PlanRule& rule) { return rule.type ? format(*rule.type).name : "keep"; }

PlanRule Plan::parse_rule(std::string_view text, const std::string& file, int line) {
  PlanRule rule{.file = file, .line = line};
  const std::string where = rule.where();
  text = trim(without_comment(text));
  if (text.find('\n') != std::string_view::npos) fail(where, "a rule is one line, found '{}'", printable(text));
  const size_t if_word = condition_begin(text);
  if (if_word < text.size()) rule.condition = Condition::parse(text.substr(if_word + 2), where);
  text = text.substr(0, if_word);
  // No type contains '=', so the last one splits, whatever the pattern contains.
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
  if (const std::string_view more = trim(right.substr(type_end)); !more.empty()) {
    fail(where, "unexpected '{}' after the type; expected nothing or `if` and a condition", printable(more));
  }

  if (rule.is_base() && (rule.optional || rule.condition != Condition())) {
    fail(where, "the base '* = TYPE' takes no condition and no '?='");
  }
  if (!rule.is_base()) Pattern(rule.pattern, where);
  return rule;
}

Plan Plan::parse(std::string_view text, const std::string& name) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (text.size() > kMaxPlanBytes) {
    fail(name, "{} bytes are too many for a plan (limit {})", text.size(), kMaxPlanBytes);
  }
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
      continue;
    }
    if (plan.rules_.size() == kMostRules) fail(rule.where(), "a plan has at most {} rules", kMostRules);
    plan.rules_.push_back(std::move(rule));
  }
  return plan;
}

std::vector<PlanRule> Plan::parse_rule_list(std::string_view text, const std::string& name) {
  std::vector<PlanRule> rules;
  int line_number = 0;
  for (std::string_view line : split(text, '\n')) {
    ++line_number;
    while (!(line = trim(line)).empty() && line[0] != '#') {
      const std::string_view word = line.substr(0, line.find_first_of(kBlanks));
      rules.push_back(parse_rule(word, name, line_number));
      if (rules.size() > kMostRules) fail(rules.back().where(), "a plan has at most {} rules", kMostRules);
      line.remove_prefix(word.size());
    }
  }
  return rules;
}

Plan Plan::load(const std::string& path) { return parse(read_plan_file(path), path); }

std::vector<PlanRule> Plan::load_rule_list(const std::string& path) {
  return parse_rule_list(read_plan_file(path), path);
}

Plan Plan::preset(const std::string& plans_folder, const std::string& name) {
  const std::string folder = plans_folder + "/presets";
  const std::vector<std::string> known = preset_names(plans_folder);
  // Names are compared with what is in the folder and never become part of a path.
  for (const std::string& preset : known) {
    if (lower(preset) == lower(name)) return load(folder + "/" + preset + ".plan");
  }
  if (known.empty()) fail(folder, "no presets found");
  std::string list;
  for (const std::string& preset : known) list += " " + preset;
  fail("preset '" + printable(name) + "'", "unknown; there are:{}", list);
}

Plan Plan::uniform(std::optional<formats::Type> type) {
  Plan plan;
  plan.base_ = PlanRule{.pattern = "*", .type = type, .file = "command line"};
  return plan;
}

void Plan::make_pure() {
  if (!base_) fail("", "the plan has no base '* = TYPE' to use for everything");
  rules_.clear();
}

void Plan::prepend(std::vector<PlanRule> rules) {
  using Key = std::pair<std::string, Condition>;
  std::set<Key> given;
  std::map<Key, const PlanRule*> present;
  for (const PlanRule& rule : rules_) present.emplace(Key(rule.pattern, rule.condition), &rule);
  for (PlanRule& rule : rules) {
    const Key key(rule.pattern, rule.condition);
    if (!given.insert(key).second) fail(rule.where(), "`{}` is given twice", printable(rule.pattern));
    const auto old = present.find(key);
    const PlanRule* replaced = old != present.end() ? old->second : rule.is_base() && base_ ? &*base_ : nullptr;
    if (replaced != nullptr) rule.replaces = fmt::format("{} in {}", target_name(*replaced), replaced->where());
  }
  std::erase_if(rules_, [&](const PlanRule& rule) { return given.contains(Key(rule.pattern, rule.condition)); });
  const auto base = std::find_if(rules.begin(), rules.end(), [](const PlanRule& rule) { return rule.is_base(); });
  if (base != rules.end()) {
    base_ = *base;
    rules.erase(base);
  }
  rules_.insert(rules_.begin(), rules.begin(), rules.end());
}

std::string Plan::text() const {
  std::string result;
  const auto add = [&](const PlanRule& rule) {
    result += fmt::format("{} {} {}", rule.pattern, rule.optional ? "?=" : "=", target_name(rule));
    if (rule.condition != Condition()) result += fmt::format(" if {}", rule.condition.text());
    result += '\n';
  };
  for (const PlanRule& rule : rules_) add(rule);
  if (base_) add(*base_);
  // At the very beginning it would be taken for the mark of a file in UTF-8, and not for a part of the pattern.
  if (result.starts_with("\xEF\xBB\xBF")) result.insert(0, "\n");
  return result;
}

}  // namespace steelyard::plan
