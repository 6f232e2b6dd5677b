#include "base/data_folder.h"

#include <dlfcn.h>
#include <fmt/ranges.h>
#include <link.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <system_error>

#include "base/error.h"

namespace steelyard {

namespace fs = std::filesystem;

namespace {

// The folder of the file that holds this code. The dynamic linker has no name for the program itself, and the one by
// which it was started may be relative to where the process is no longer.
fs::path own_folder() {
  Dl_info info;
  link_map* map = nullptr;
  void* here = reinterpret_cast<void*>(&own_folder);
  if (::dladdr1(here, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) != 0 && map != nullptr &&
      map->l_name != nullptr && map->l_name[0] != '\0') {
    std::error_code error;
    const fs::path library = fs::canonical(map->l_name, error);
    if (error) fail(map->l_name, "cannot be resolved: {}", error.message());
    return library.parent_path();
  }
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (error) fail("/proc/self/exe", "cannot be read: {}", error.message());
  return program.parent_path();
}

bool is_build_folder(const fs::path& folder) {
  const std::string name = folder.filename().string();
  return name == "build" || name.starts_with("build-");
}

}  // namespace

std::vector<fs::path> data_places(const fs::path& program_folder, const std::string& name) {
  std::vector<fs::path> places = {program_folder.parent_path() / "share" / "steelyard" / name};
  for (const fs::path& folder : {program_folder, program_folder.parent_path()}) {
    if (is_build_folder(folder)) places.push_back(folder.parent_path() / name);
  }
  return places;
}

std::string data_folder(const std::string& name) {
  std::string variable = "STEELYARD_" + name;
  std::ranges::transform(variable, variable.begin(), [](unsigned char c) { return std::toupper(c); });
  if (const char* chosen = std::getenv(variable.c_str())) return chosen;

  std::vector<std::string> tried;
  for (const fs::path& place : data_places(own_folder(), name)) {
    std::error_code ignored;  // what cannot be looked at is not there
    if (fs::is_directory(place, ignored)) return place.string();
    tried.push_back(place.string());
  }
  fail("", "the folder of {} is not found; looked for {}; the environment variable {} can name another", name,
       fmt::join(tried, ", "), variable);
}

}  // namespace steelyard
