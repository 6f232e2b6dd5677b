#include "plan/plan_names.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <system_error>

namespace steelyard::plan {

std::vector<std::string> preset_names(const std::string& plans_folder) {
  std::error_code none;  // of a folder that is not there
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(plans_folder + "/presets", none)) {
    if (entry.path().extension() == ".plan") names.push_back(entry.path().stem().string());
  }
  std::ranges::sort(names);
  return names;
}

std::string_view file_type_name(std::string_view number) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc() || end != number.data() + number.size()) return "";
  switch (value) {
#define FILE_TYPE(number, name) \
  case number:                  \
    return #name;
#include "plan/file_types.def"
#undef FILE_TYPE
    default:
      return "";
  }
}

}  // namespace steelyard::plan
