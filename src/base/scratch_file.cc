#include "base/scratch_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/system_calls.h"

namespace steelyard {

ScratchFile::ScratchFile(const std::string& folder) : folder_(folder.empty() ? "." : folder) {
  std::string pattern = folder_ + "/.steelyard-scratch-XXXXXX";
  fd_ = ::mkostemp(pattern.data(), O_CLOEXEC);  // as System::open: random, new, of this user alone
  if (fd_ < 0) fail(folder_, "cannot create a scratch file here: {}", std::strerror(errno));
  System::unlink(pattern);
}

ScratchFile::~ScratchFile() { ::close(fd_); }

void ScratchFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = System::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(folder_, "cannot write to the scratch file after {} bytes: {}", offset, std::strerror(errno));
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void ScratchFile::read_at(uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t n = System::pread(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      fail(folder_, "cannot read the scratch file at {}: {}", offset, n == 0 ? "it ends" : std::strerror(errno));
    }
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

}  // namespace steelyard
