#include "jobs/given_options.h"

#include <algorithm>

namespace steelyard::jobs {

OptionNames operator+(OptionNames a, const OptionNames& b) {
  a.insert(b.begin(), b.end());
  return a;
}

OptionNames operator-(OptionNames a, const OptionNames& b) {
  for (const std::string& name : b) a.erase(name);
  return a;
}

void refuse_given(const Json& options, const Json& defaults, const OptionNames& names, std::string_view where) {
  std::string given;
  for (const auto& [name, value] : options.items()) {
    if (!names.contains(name) || value == defaults.at(name)) continue;
    std::string flag = name;
    std::ranges::replace(flag, '_', '-');
    given += (given.empty() ? "--" : ", --") + flag;
  }
  if (!given.empty()) fail("", "{}: no effect {}", given, where);
}

}  // namespace steelyard::jobs
