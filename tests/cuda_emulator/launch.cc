// Names of kernels, and which of them run as PTX.
#include "cuda_emulator/launch.h"

#include <map>

namespace steelyard::cuda_emulator {
namespace {

std::map<std::string, PtxLaunch> ptx_launches;

void erase_all(std::string& text, const std::string& part) {
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at)) text.erase(at, part.size());
}

}  // namespace

PtxLaunch* find_ptx(const std::string& name) {
  const auto found = ptx_launches.find(name);
  return found == ptx_launches.end() ? nullptr : &found->second;
}
void set_ptx(const std::string& name, PtxLaunch launch) { ptx_launches[name] = std::move(launch); }
void forget_ptx() { ptx_launches.clear(); }

std::string plain_name(const std::string& name) {
  std::string plain = name;
  for (const char* part : {"{anonymous}::", "(anonymous namespace)::", "scalar::", "(", "void "}) {
    if (std::string(part) == "(") {  // of the parameters: after the last template argument
      const size_t open = plain.find('(', plain.rfind('>') == std::string::npos ? 0 : plain.rfind('>'));
      if (open != std::string::npos) plain.erase(open);
    } else {
      erase_all(plain, part);
    }
  }
  erase_all(plain, " ");
  return plain;
}

}  // namespace steelyard::cuda_emulator
