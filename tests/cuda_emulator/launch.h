// Launching kernels on the emulator, and what tests ask of it.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <vector>

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

/// A way to run a kernel's PTX in its stead (ptx/module.h).
using PtxLaunch = std::function<cudaError_t(const Launch&, const Argument*, int, cudaStream_t)>;
/// By plain name; null where the kernel itself runs. The pointer is valid until the next change.
PtxLaunch* find_ptx(const std::string& name);
void set_ptx(const std::string& name, PtxLaunch launch);
void forget_ptx();
/// Of the kernels launched so far by this program, those that no PTX was set for; and the other way round.
std::vector<std::string> launched_without_ptx();
std::vector<std::string> ptx_not_launched();
/// How both compilers' spellings of a name come out alike: without return type, parameters and unnamed namespaces.
std::string plain_name(const std::string& name);
/// A mangled name as its source has it.
std::string readable_name(const char* mangled);
/// The plain name of what Named<&what> names.
std::string name_of_argument(const char* mangled);

template <auto kKernel>
struct Named;
/// The kernel's name as its source has it, template arguments included:
/// "steelyard::compute::cuda::multiply_rows<steelyard::Q4_K>".
template <auto kKernel>
std::string kernel_name() {
  return name_of_argument(typeid(Named<kKernel>*).name());
}

/// As kernel<<<grid, block, smem, stream>>>(args...): arguments are converted to the kernel's parameters and copied.
/// Where PTX was set for the name, that runs. The name outlives the launch.
template <class... P, class... A>
cudaError_t launch_named(const std::string& name, void (*kernel)(P...), dim3 grid, dim3 block, size_t smem,
                         cudaStream_t stream, A&&... args) {
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
  const Launch description{
      name.c_str(), reinterpret_cast<const void*>(kernel), grid, block, smem, nullptr, nullptr, -1};
  if (PtxLaunch* ptx = find_ptx(name)) return (*ptx)(description, arguments, n, stream);
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

/// The same of a kernel that is named as its source names it.
template <auto kKernel, class... A>
cudaError_t launch(dim3 grid, dim3 block, size_t smem, cudaStream_t stream, A&&... args) {
  static const std::string name = kernel_name<kKernel>();
  return launch_named(name, kKernel, grid, block, smem, stream, static_cast<A&&>(args)...);
}

}  // namespace steelyard::cuda_emulator
