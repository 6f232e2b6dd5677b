// Launching kernels on the emulator, and what tests ask of it.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <tuple>
#include <type_traits>

#include "cuda_runtime.h"

namespace steelyard::cuda_emulator {

/// Fresh devices with so much memory each; errors are forgotten.
void reset(int devices, size_t bytes_each = size_t(1) << 30);
/// What the last failed operation had to say.
const std::string& last_message();
/// Allocations of a device that nobody freed.
size_t live_allocations(int device);

/// An argument of a kernel, to be searched for pointers that are not the device's.
struct Argument {
  const void* value;
  size_t size;
  bool is_pointer;
};
cudaError_t enqueue_kernel(Launch launch, std::function<void(const Launch&)> run, const Argument* arguments, int n,
                           cudaStream_t stream);
void run_launch(const Launch& launch);

/// As kernel<<<grid, block, smem, stream>>>(args...): arguments are converted to the kernel's parameters and copied.
template <class... P, class... A>
cudaError_t launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, size_t smem, cudaStream_t stream,
                   A&&... args) {
  static_assert(sizeof...(P) == sizeof...(A), "wrong number of kernel arguments");
  static_assert((std::is_trivially_copyable_v<std::decay_t<P>> && ...), "kernel parameters must be trivially copyable");
  using Values = std::tuple<std::decay_t<P>...>;
  Values values{static_cast<std::decay_t<P>>(args)...};
  Argument arguments[sizeof...(P) + 1];
  int n = 0;
  std::apply(
      [&](auto&... value) {
        ((arguments[n++] = {&value, sizeof value, std::is_pointer_v<std::remove_reference_t<decltype(value)>>}), ...);
      },
      values);
  const Launch description{name, reinterpret_cast<const void*>(kernel), grid, block, smem, nullptr, nullptr, -1};
  const auto run = [kernel, values](const Launch& launch) {
    struct Call {
      decltype(kernel) function;
      const Values* values;
    } call{kernel, &values};
    Launch bound = launch;
    bound.pack = &call;
    bound.invoke = [](void* pack) {
      const auto* bound_call = static_cast<Call*>(pack);
      std::apply(bound_call->function, *bound_call->values);
    };
    run_launch(bound);
  };
  return enqueue_kernel(description, run, arguments, n, stream);
}

}  // namespace steelyard::cuda_emulator
