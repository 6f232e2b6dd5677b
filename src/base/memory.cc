#include "base/memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace steelyard {

uint64_t physical_memory() {
  uint64_t bytes = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  // Inside a container this is the limit of its own group. If it is "max" or absent there is no limit.
  uint64_t limit = 0;
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> limit && limit > 0) bytes = std::min(bytes, limit);
  return bytes;
}

uint64_t usable_memory(uint64_t allowed) { return allowed > 0 ? allowed : physical_memory() / 5 * 4; }

}  // namespace steelyard
