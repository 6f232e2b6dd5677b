// Device memory. Every device has a range of addresses backed by a file in memory, mapped twice. One view is what
// cudaMalloc returns; only kernels of that device can reach it (fault.cc). The other is an alias that only the runtime
// uses, for copies and fills. Each allocation ends at a guard page, and addresses are never used again.
#include "cuda_emulator/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "cuda_emulator/scheduler.h"

namespace steelyard::cuda_emulator::memory {
namespace {

constexpr size_t kReserve = size_t(1) << 38;  // addresses per device
constexpr size_t kAlign = 256;                // what cudaMalloc promises
constexpr uint8_t kCanary = 0xA5;             // between the end of an allocation and its rounded size

struct Device {
  char *view = nullptr, *alias = nullptr;
  int fd = -1;
  size_t next = 0, used = 0, capacity = 0;
  std::map<char*, Info> allocations;  // by base
  std::vector<int> peers;

  bool owns(const void* p) const { return p >= view && p < view + kReserve; }
};
std::vector<Device> devices;
std::map<char*, Info> hosts;

size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

char* map_view(int fd, int protection) {
  void* view = mmap(nullptr, kReserve, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (view == MAP_FAILED) {
    perror("cuda emulator: mmap");
    abort();
  }
  return static_cast<char*>(view);
}

void init(Device& device, size_t capacity) {
  device.fd = memfd_create("cuda_emulator", MFD_CLOEXEC);
  if (device.fd < 0 || ftruncate(device.fd, off_t(kReserve))) {
    perror("cuda emulator: memfd");
    abort();
  }
  device.view = map_view(device.fd, config().memcheck ? PROT_NONE : PROT_READ | PROT_WRITE);
  device.alias = map_view(device.fd, PROT_READ | PROT_WRITE);
  device.capacity = capacity;
}

void destroy(Device& device) {
  ASAN_UNPOISON_MEMORY_REGION(device.view, device.next);
  munmap(device.view, kReserve);
  munmap(device.alias, kReserve);
  close(device.fd);
}

Info find_in(const std::map<char*, Info>& allocations, const void* p) {
  auto* c = static_cast<char*>(const_cast<void*>(p));
  auto after = allocations.upper_bound(c);
  if (after == allocations.begin()) return {};
  const auto& [base, info] = *--after;
  return c < base + std::max<size_t>(info.size, 1) ? info : Info{};
}

}  // namespace

size_t Info::span() const { return round_up(round_up(size, kAlign), page_size()); }
char* Info::first_page() const { return base + round_up(size, kAlign) - span(); }

int device_count() {
  if (devices.empty()) set_device_count(1, size_t(8) << 30);
  return int(devices.size());
}

bool valid_device(int d) { return d >= 0 && d < device_count(); }

void set_device_count(int n, size_t bytes_each) {
  std::ranges::for_each(devices, destroy);
  devices.assign(size_t(n), {});
  for (Device& device : devices) init(device, bytes_each);
  install_fault_handler();
}

size_t live(int d) {
  return size_t(std::ranges::count_if(devices[size_t(d)].allocations, [](auto& each) { return !each.second.freed; }));
}
size_t bytes_free(int d) { return devices[size_t(d)].capacity - devices[size_t(d)].used; }
size_t bytes_total(int d) { return devices[size_t(d)].capacity; }

bool peer_enabled(int from, int to) { return from == to || std::ranges::count(devices[size_t(from)].peers, to) > 0; }

void enable_peer(int from, int to, bool on) {
  std::vector<int>& peers = devices[size_t(from)].peers;
  std::erase(peers, to);
  if (on) peers.push_back(to);
}

void* alloc(int d, size_t n) {
  Device& device = devices[size_t(d)];
  const size_t rounded = round_up(n, kAlign), span = round_up(rounded, page_size());
  if (device.used + rounded > device.capacity || device.next + span + page_size() > kReserve) return nullptr;
  char* p = device.view + device.next + span - rounded;  // the page after it stays a guard for ever
  device.next += span + page_size();
  device.used += rounded;
  memset(device.alias + (p - device.view), config().poison, n);
  memset(device.alias + (p - device.view) + n, kCanary, rounded - n);
  device.allocations[p] = Info{Kind::kDevice, d, p, n, false};
  ASAN_POISON_MEMORY_REGION(p + n, rounded - n);
  return p;
}

bool free_device(void* p) {
  for (Device& device : devices) {
    const auto found = device.allocations.find(static_cast<char*>(p));
    if (found == device.allocations.end() || found->second.freed) continue;
    Info& info = found->second;
    info.freed = true;
    device.used -= round_up(info.size, kAlign);
    fallocate(device.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, info.first_page() - device.view,
              off_t(info.span()));
    mprotect(info.first_page(), info.span(), PROT_NONE);
    return true;
  }
  return false;
}

void register_host(void* p, size_t n, Kind kind, int device) {
  hosts[static_cast<char*>(p)] = Info{kind, device, static_cast<char*>(p), n, false};
}
bool unregister_host(void* p) { return hosts.erase(static_cast<char*>(p)) != 0; }

int device_of_address(const void* p) {
  const auto found = std::ranges::find_if(devices, [p](const Device& device) { return device.owns(p); });
  return found == devices.end() ? -1 : int(found - devices.begin());
}

Info find(const void* p) {
  const int d = device_of_address(p);
  return find_in(d >= 0 ? devices[size_t(d)].allocations : hosts, p);
}

char* alias(const void* p) {
  auto* c = static_cast<char*>(const_cast<void*>(p));
  const int d = device_of_address(p);
  return d >= 0 ? devices[size_t(d)].alias + (c - devices[size_t(d)].view) : c;
}

bool readable_on_device(const void* p, size_t n, int device) {
  const Info info = find(p);
  if (info.kind == Kind::kNone || info.freed) return false;
  if (static_cast<const char*>(p) + n > info.base + info.size) return false;
  return info.kind != Kind::kDevice || peer_enabled(device, info.device);
}

std::string describe(const void* p) {
  char text[256];
  auto* c = static_cast<char*>(const_cast<void*>(p));
  const Info info = find(p);
  const int d = device_of_address(p);
  if (info.kind == Kind::kDevice) {
    snprintf(text, sizeof text, "%p = device %d allocation %p +%zd (size %zu%s)", p, info.device,
             static_cast<void*>(info.base), c - info.base, info.size, info.freed ? ", FREED" : "");
  } else if (d >= 0) {
    auto after = devices[size_t(d)].allocations.upper_bound(c);
    if (after == devices[size_t(d)].allocations.begin()) {
      snprintf(text, sizeof text, "%p = device %d address space, no allocation", p, d);
    } else {
      const Info& before = (--after)->second;
      snprintf(text, sizeof text, "%p = device %d, %zd bytes past the end of allocation %p (size %zu)", p, d,
               c - before.base - ptrdiff_t(before.size), static_cast<void*>(before.base), before.size);
    }
  } else {
    snprintf(text, sizeof text, "%p = %s", p,
             info.kind == Kind::kPinned ? "pinned host memory" : "ordinary host memory or unmapped");
  }
  return text;
}

std::string check_canaries(int d) {
  for (const auto& [base, info] : devices[size_t(d)].allocations) {
    if (info.freed) continue;
    const char* bytes = alias(base);
    for (size_t i = info.size; i < round_up(info.size, kAlign); ++i) {
      if (uint8_t(bytes[i]) != kCanary) return "write past the end of " + describe(base);
    }
  }
  return {};
}

}  // namespace steelyard::cuda_emulator::memory
