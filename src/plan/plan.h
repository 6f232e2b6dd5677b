// A plan: which tensor gets which type, as an ordered list of rules that a person can read. Pure data; resolve()
// (plan/resolve.h) applies it to a model. Grammar: docs/plan.md.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/format.h"
#include "plan/condition.h"
#include "plan/pattern.h"

namespace steelyard::plan {

/// One line of a plan.
struct PlanRule {
  std::string pattern;                ///< as written; "*" is the base
  std::optional<formats::Type> type;  ///< none: `keep`, as in the source
  std::string file;                   ///< where it was written: a path, or "command line"
  int line = 0;                       ///< 1-based; 0 when it is not from a file
  Condition condition;                ///< when it takes part
  bool optional = false;              ///< written with ?=: may decide nothing without being reported
  std::string replaces;  ///< "Q8_0 in plans/x.plan:12": the rule whose place this one took in prepend(); may be empty

  bool is_base() const { return pattern == "*"; }
  /// "plans/x.plan:12", or just `file`.
  std::string where() const;
};

/// "IQ2_S", or "keep".
std::string_view target_name(const PlanRule& rule);

class Plan {
 public:
  /// Parses a whole plan file; `name` is its name in messages. Error{name:line} for a line without '=', an empty or bad
  /// pattern (with RE2's message), an unknown type (with the nearest name), an unknown condition, a repeated pattern, a
  /// second base.
  static Plan parse(std::string_view text, const std::string& name);
  /// Reads and parses `path`. Error when it cannot be read or is too large to be a plan.
  static Plan load(const std::string& path);
  /// The plan of `plans_folder`/presets/`name`.plan, case-insensitive. Error lists the presets there are.
  static Plan preset(const std::string& plans_folder, const std::string& name);
  /// Every tensor in one type; none: everything as in the source.
  static Plan uniform(std::optional<formats::Type> type);

  /// One rule as on a line of a plan, without comment; for `--tensor-type RE=TYPE` with file "command line".
  static PlanRule parse_rule(std::string_view text, const std::string& file, int line = 0);

  /// Rules in the format of llama.cpp's --tensor-type-file: PATTERN=TYPE between blanks and line ends. A word that
  /// begins with '#' opens a comment. Error{name:line} as in parse().
  static std::vector<PlanRule> parse_rule_list(std::string_view text, const std::string& name);
  /// Reads and parses `path`, as load().
  static std::vector<PlanRule> load_rule_list(const std::string& path);

  /// Drops all rules but the base. Error when there is no base.
  void make_pure();

  /// Puts `rules` before all others, in this order. A rule of the plan with the same pattern, or its base, is replaced.
  /// Error when `rules` has a pattern twice.
  void prepend(std::vector<PlanRule> rules);

  /// All rules except the base, in the order in which they are tried.
  const std::vector<PlanRule>& rules() const { return rules_; }
  /// The type of tensors that no rule matches. Without a base they are kept as in the source.
  const std::optional<PlanRule>& base() const { return base_; }

  /// The plan as text that parse() reads back to the same rules: for the record of a run.
  std::string text() const;

 private:
  std::vector<PlanRule> rules_;
  std::optional<PlanRule> base_;
};

}  // namespace steelyard::plan
