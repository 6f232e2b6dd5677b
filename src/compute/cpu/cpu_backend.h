// The CPU backend: OpenMP around kernels compiled per target. Weights of any type stay as they are in the file;
// products decode a tile of rows at a time, so memory stays bounded. One file per kind of operation: products
// (mul_mat.cc), attention.cc, and the rest (cpu_backend.cc).
//
// Results do not depend on the number of threads: what a thread computes depends on its task alone, and tasks do not
// share sums.
#pragma once

#include <cstddef>
#include <vector>

#include "base/scratch_buffer.h"
#include "compute/cpu/delta_net.h"
#include "compute/cpu/gemm.h"
#include "compute/cpu/kernels.h"
#include "compute/cpu/row_kernels.h"
#include "compute/host_backend.h"
#include "simd/target.h"

namespace steelyard::compute {
namespace cpu {

/// Rows of activations that meet a panel at a time: whole register tiles of every target's kernels.
inline constexpr int64_t kRowsAtOnce = 60;
/// Multiplications below which other threads are not worth waking.
inline constexpr int64_t kSerialProducts = 1 << 16;

inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace cpu

class CpuBackend : public HostBackend {
 public:
  explicit CpuBackend(Precision precision);
  CpuBackend(const CpuBackend&) = delete;
  std::string_view name() const override { return "cpu"; }
  void compute_rows_alone(bool on) override { rows_alone_ = on; }

#define OPERATION(name, ...) void name(__VA_ARGS__) override;
#define HOST_OPERATION(...)
#include "compute/operations.def"
  // What backends in host memory share, faster.
  void state_space(const StateSpaceArgs& args, float* state, Matrix out) override;
  void index_scores(Matrix q, Matrix weights, TypedRows k, Matrix scores) override;

 protected:
  void multiply(std::span<const Product> products) override;
  void multiply_transposed(std::span<const Product> products) override;
  void add_scale_gradients(std::span<const ScaleGradient> gradients) override;

 private:
  // Memory that a thread works in; kept from call to call and grown as needed.
  class Workspace {
   public:
    template <typename T>
    T* array(int slot, int64_t n) {
      return reinterpret_cast<T*>(slots_[slot].reserve(static_cast<size_t>(n) * sizeof(T)));
    }

   private:
    ScratchBuffer<std::byte> slots_[8];
  };

  class AttentionTask;
  class AttentionBackwardTask;

  /// How a product is made: with floats, with both sides as 16-bit codes, or with codes of blocks and activations as
  /// bytes; row by row for a single token, else in panels.
  enum class Kind { kRow, kByteRow, kPanels, kCodedPanels, kBytePanels };
  // One product and, where it is one of integers, the place of its activations in codes_, row_bytes_ or panel_bytes_.
  struct Job {
    Product product;
    const cpu::RowKernels* rows;
    Kind kind;
    int64_t codes_at = 0;
    bool of_bytes() const { return kind == Kind::kByteRow || kind == Kind::kBytePanels; }
    bool of_codes() const { return of_bytes() || kind == Kind::kCodedPanels; }
    int64_t coded_width() const {
      const int64_t unit = of_bytes() ? cpu::kByteSpan : cpu::kCodeBlock;
      return (product.x.cols + unit - 1) / unit * unit;
    }
  };
  // Some weight rows of a product, with some of its tokens.
  struct Task {
    int32_t job;
    int64_t row, n_rows;
    int64_t token, n_tokens;
  };

  // The kernels of an activation that has limits, or null for one of the three that have kernels of their own.
  const cpu::LimitedKernels* limited_kernels(const Activation& activation) const;
  Kind kind_of(const Product& product) const;
  Job make_job(const Product& product);
  void add_tasks(int32_t job, int64_t row_bytes_of_task);
  void encode_inputs(const Job& job);
  int64_t& count_of(Kind kind);
  cpu::ByteInput bytes_of(const Job& job);
  void run(const Task& task, Workspace& workspace);
  void multiply_rows(const Job& job, const Task& task);
  void multiply_panels(const Job& job, const Task& task, Workspace& workspace) const;
  void multiply_byte_panels(const Job& job, const Task& task, Workspace& workspace);
  void multiply_coded_panels(const Job& job, const Task& task, Workspace& workspace) const;
  // Grows the list to the number of threads; call outside of parallel regions.
  std::vector<Workspace>& workspaces();

  const Precision precision_;
  bool rows_alone_ = false;
  const simd::Target target_;
  const cpu::Kernels& kernels_;
  const cpu::DeltaNetKernels& delta_net_;
  const cpu::Gemm& gemm_;
  const cpu::BytePanels& byte_panels_;
  std::vector<Workspace> workspaces_;  // one per thread

  // Of the call of multiply at work.
  std::vector<Job> jobs_;
  std::vector<Task> tasks_;
  int64_t n_codes_ = 0, n_row_bytes_ = 0, n_panel_bytes_ = 0;
  ScratchBuffer<int16_t> codes_;
  ScratchBuffer<float> scales_;  // one per 64 codes
  cpu::ByteInputs row_bytes_, panel_bytes_;
};

}  // namespace steelyard::compute
