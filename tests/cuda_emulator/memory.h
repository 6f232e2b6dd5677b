// What the emulator knows about memory: whose it is, where allocations begin and end.
#pragma once

#include <cstddef>
#include <string>

namespace steelyard::cuda_emulator::memory {

enum class Kind { kNone, kDevice, kPinned };

struct Info {
  Kind kind = Kind::kNone;
  int device = -1;
  char* base = nullptr;
  size_t size = 0;
  bool freed = false;

  /// The pages of the allocation.
  char* first_page() const;
  size_t span() const;
};

bool valid_device(int d);
int device_count();
void set_device_count(int n, size_t bytes_each);

void* alloc(int device, size_t n);
bool free_device(void* p);
void register_host(void* p, size_t n, Kind kind, int device);
bool unregister_host(void* p);
Info find(const void* p);
/// The view of device memory that is always accessible; other pointers as they are.
char* alias(const void* p);
/// The device whose range of addresses p lies in, or -1.
int device_of_address(const void* p);
size_t live(int device);  ///< allocations that are not freed
size_t bytes_free(int device);
size_t bytes_total(int device);

bool peer_enabled(int from, int to);
void enable_peer(int from, int to, bool on);
bool readable_on_device(const void* p, size_t n, int device);

void enter_kernel(int device);
void leave_kernel();
/// Empty, or which allocation was written beyond its end.
std::string check_canaries(int device);
void install_fault_handler();
std::string describe(const void* p);

}  // namespace steelyard::cuda_emulator::memory
