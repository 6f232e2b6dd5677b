// Builds with AddressSanitizer: the rest of a mapped file's last page, which the kernel fills with zeros, may not be
// read. The linker puts these in the place of mmap and munmap (--wrap, fuzz.cmake).
#include <sanitizer/asan_interface.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>

extern "C" {

void* __real_mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset);
int __real_munmap(void* address, size_t length);

namespace {

size_t rest_of_page(size_t length) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return (page - length % page) % page;
}

}  // namespace

void* __wrap_mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset) {
  void* const mapped = __real_mmap(address, length, protection, flags, fd, offset);
  if (mapped != MAP_FAILED && fd >= 0) {
    __asan_poison_memory_region(static_cast<char*>(mapped) + length, rest_of_page(length));
  }
  return mapped;
}

int __wrap_munmap(void* address, size_t length) {
  __asan_unpoison_memory_region(static_cast<char*>(address) + length, rest_of_page(length));
  return __real_munmap(address, length);
}

}  // extern "C"
