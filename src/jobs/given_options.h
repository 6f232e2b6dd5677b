// Options that a kind of run has no use for are refused, so that nobody takes them for done. An option counts as given
// where it has another value than its default.
#pragma once

#include <initializer_list>
#include <set>
#include <string>
#include <string_view>

#include "jobs/json.h"

namespace steelyard::jobs {

/// Fields by their names in JSON.
using OptionNames = std::set<std::string>;

/// All fields of a struct of options.
template <class Options>
OptionNames names_of() {
  OptionNames names;
  const Json defaults = to_json(Options());
  for (const auto& [name, value] : defaults.items()) names.insert(name);
  return names;
}

OptionNames operator+(OptionNames a, const OptionNames& b);
OptionNames operator-(OptionNames a, const OptionNames& b);

/// "--order, --memory: no effect with --self-check", for those of `names` that are not as in `defaults`. `where`: "with
/// --self-check".
void refuse_given(const Json& options, const Json& defaults, const OptionNames& names, std::string_view where);

/// Error if one of these options is given.
template <class Options>
void refuse_given(const Options& options, const OptionNames& names, std::string_view where) {
  refuse_given(to_json(options), to_json(Options()), names, where);
}

/// Error if any other option than these is given.
template <class Options>
void refuse_others(const Options& options, const OptionNames& used, std::string_view where) {
  refuse_given(to_json(options), to_json(Options()), names_of<Options>() - used, where);
}

}  // namespace steelyard::jobs
