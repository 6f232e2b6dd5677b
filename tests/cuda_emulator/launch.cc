// Names of kernels, and which of them run as PTX.
#include "cuda_emulator/launch.h"

#include <cxxabi.h>

#include <cstdlib>
#include <map>
#include <set>

namespace steelyard::cuda_emulator {
namespace {

std::map<std::string, PtxLaunch> ptx_launches;
std::set<std::string> launched;

void erase_all(std::string& text, const std::string& part) {
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at)) text.erase(at, part.size());
}

}  // namespace

PtxLaunch* find_ptx(const std::string& name) {
  launched.insert(name);
  const auto found = ptx_launches.find(name);
  return found == ptx_launches.end() ? nullptr : &found->second;
}
void set_ptx(const std::string& name, PtxLaunch launch) { ptx_launches[name] = std::move(launch); }
void forget_ptx() { ptx_launches.clear(); }

std::vector<std::string> launched_without_ptx() {
  std::vector<std::string> names;
  for (const std::string& name : launched) {
    if (!ptx_launches.contains(name)) names.push_back(name);
  }
  return names;
}
std::vector<std::string> ptx_not_launched() {
  std::vector<std::string> names;
  for (const auto& [name, launch] : ptx_launches) {
    if (!launched.contains(name)) names.push_back(name);
  }
  return names;
}

std::string plain_name(const std::string& name) {
  std::string plain = name;
  for (const char* part : {"(anonymous namespace)::", "scalar::", "void ", " "}) erase_all(plain, part);
  int depth = 0;  // of template arguments
  for (size_t i = 0; i < plain.size(); ++i) {
    if (plain[i] == '(' && depth == 0)
      plain.erase(i);
    else if (plain[i] == '<')
      ++depth;
    else if (plain[i] == '>')
      --depth;
  }
  return plain;
}

std::string readable_name(const char* mangled) {
  int status = 0;
  char* text = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  const std::string name = status == 0 ? text : mangled;
  std::free(text);
  return name;
}

std::string name_of_argument(const char* mangled) {
  const std::string text = readable_name(mangled);
  size_t begin = text.find('&') + 1;
  if (text[begin] == '(') ++begin;
  return plain_name(text.substr(begin, text.rfind('>') - begin));
}

}  // namespace steelyard::cuda_emulator
