// Filters and renames by tensor name; sums and counts stay as they are.
#include "imatrix/selection.h"

#include <algorithm>

#include "base/check.h"
#include "base/error.h"

namespace steelyard::imatrix {
namespace {

bool contains_any(const std::string& name, std::span<const std::string> texts) {
  return std::ranges::any_of(texts, [&](const std::string& text) { return name.find(text) != std::string::npos; });
}

// A text that occurs nowhere is probably a typing error. An empty one would occur everywhere.
void check_occurs(const Imatrix& imatrix, std::span<const std::string> texts, std::string_view flag) {
  for (const std::string& text : texts) {
    if (text.empty()) fail("", "{} is empty, expected a part of a tensor's name", flag);
    if (std::ranges::none_of(imatrix.entries,
                             [&](const auto& entry) { return entry.first.find(text) != std::string::npos; })) {
      fail(imatrix.source, "{} {}: no entry's name contains it", flag, printable(text));
    }
  }
}

}  // namespace

void select_entries(Imatrix& imatrix, std::span<const std::string> include, std::span<const std::string> exclude) {
  check_occurs(imatrix, include, "--include-weights");
  check_occurs(imatrix, exclude, "--exclude-weights");
  std::erase_if(imatrix.entries, [&](const auto& entry) {
    return (!include.empty() && !contains_any(entry.first, include)) || contains_any(entry.first, exclude);
  });
  if (imatrix.entries.empty()) fail(imatrix.source, "--include-weights and --exclude-weights leave no entry");
}

void rename_entries(Imatrix& imatrix, std::span<const EntryName> names) {
  std::map<std::string, ImatrixEntry> renamed;
  for (const EntryName& name : names) {
    const auto found = imatrix.entries.find(name.from);
    if (found == imatrix.entries.end()) continue;
    const bool is_new = renamed.emplace(name.to, std::move(found->second)).second;
    STEELYARD_CHECK(is_new);
  }
  imatrix.entries = std::move(renamed);
}

}  // namespace steelyard::imatrix
