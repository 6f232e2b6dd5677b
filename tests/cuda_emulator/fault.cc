// What happens when device memory is touched: a kernel of its device gets the allocation opened until it ends; anything
// else is explained. A fault within a kernel becomes a failed launch, one of the host's ends the program.
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "cuda_emulator/memory.h"
#include "cuda_emulator/scheduler.h"

namespace steelyard::cuda_emulator::memory {
namespace {

std::vector<Info> opened;  // to the running kernel
int running = -1;          // its device

struct sigaction old_segv, old_bus;
thread_local char message[512];

void fail_with_message() { fail("%s", message); }

bool open_to_kernel(const void* address) {
  const Info info = find(address);
  if (running < 0 || info.kind != Kind::kDevice || info.freed || !peer_enabled(running, info.device)) return false;
  if (mprotect(info.first_page(), info.span(), PROT_READ | PROT_WRITE) != 0) return false;
  opened.push_back(info);
  return true;
}

// The faulting fiber goes on in fail_with_message, below the red zone of its stack.
void divert(ucontext_t* context) {
  auto& registers = context->uc_mcontext.gregs;
  registers[REG_RSP] = ((registers[REG_RSP] - 256) & ~15ll) - 8;
  registers[REG_RIP] = reinterpret_cast<greg_t>(&fail_with_message);
}

void on_fault(int signal, siginfo_t* info, void* context) {
  if (in_kernel()) {
    if (open_to_kernel(info->si_addr)) return;
    const std::string what =
        info->si_code == SI_KERNEL ? "misaligned vector access or wild pointer" : describe(info->si_addr);
    snprintf(message, sizeof message, "illegal memory access by kernel of device %d: %s", running, what.c_str());
    divert(static_cast<ucontext_t*>(context));
    return;
  }
  if (device_of_address(info->si_addr) >= 0) {
    fprintf(stderr, "cuda emulator: HOST code touched device memory: %s\n", describe(info->si_addr).c_str());
  }
  sigaction(signal, signal == SIGSEGV ? &old_segv : &old_bus, nullptr);  // on return the program ends as usual
}

}  // namespace

void enter_kernel(int device) {
  running = device;
  opened.clear();
}

void leave_kernel() {
  if (config().memcheck) {
    for (const Info& info : opened) mprotect(info.first_page(), info.span(), PROT_NONE);
  }
  opened.clear();
  running = -1;
}

void install_fault_handler() {
  static bool installed = false;
  if (installed || !config().memcheck) return;
  installed = true;
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, &old_segv);
  sigaction(SIGBUS, &action, &old_bus);
}

}  // namespace steelyard::cuda_emulator::memory
