// Executes PTX text, what nvcc emitted, on the engine: the code that a device gets, less its assembler. One kernel per
// .visible .entry. An instruction that the interpreter does not know is an error when the text is loaded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cuda_runtime.h"

namespace steelyard::cuda_emulator::ptx {

struct Kernel;
struct Program;

class Module {
 public:
  /// Throws std::runtime_error that names the line.
  explicit Module(const std::string& text);
  ~Module();

  /// Mangled names.
  std::vector<std::string> kernels() const;

  /// `name`: the mangled name or a part of it that no other kernel has. Arguments must have the parameters' sizes.
  cudaError_t launch(const std::string& name, dim3 grid, dim3 block, size_t smem, cudaStream_t stream,
                     const std::vector<std::pair<const void*, size_t>>& arguments) const;
  template <class... A>
  cudaError_t operator()(const std::string& name, dim3 grid, dim3 block, size_t smem, cudaStream_t stream,
                         const A&... arguments) const {
    return launch(name, grid, block, smem, stream, {{&arguments, sizeof arguments}...});
  }

  /// From now on launches of kernels that this module has run from it; returns their number.
  int run_from_here() const;

  /// Executed so far, by all modules.
  struct Work {
    uint64_t instructions = 0;       ///< of all threads
    uint64_t warp_instructions = 0;  ///< of the longest thread of each warp: what is issued, were there no divergence
    uint64_t local_accesses = 0;     ///< loads and stores, as is
    uint64_t shared_accesses = 0;    ///< of all threads
  };
  static Work work();
  static uint64_t instructions() { return work().instructions; }

 private:
  cudaError_t launch(const Kernel& kernel, dim3 grid, dim3 block, size_t smem, cudaStream_t stream,
                     const std::vector<std::pair<const void*, size_t>>& arguments) const;

  std::shared_ptr<const Program> program_;
};

}  // namespace steelyard::cuda_emulator::ptx
