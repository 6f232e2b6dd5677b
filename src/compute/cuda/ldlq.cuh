// Error feedback of a row on the device (formats/ldlq_row.h) with the steps of one type, half a warp for each row.
// Products with whole panels do not depend on the type, and are in ldlq.cu. Included by encoders.cuh.
#pragma once

#include "compute/cuda/books.cuh"
#include "compute/cuda/half_warp.cuh"
#include "compute/cuda/ldlq.h"
#include "formats/codec.h"
#include "formats/ldlq_row.h"

namespace steelyard::compute::cuda {

/// The steps of F in the form that LdlqRow takes.
template <class F>
struct StepsOf {
  using Scales = typename F::Scales;
  static constexpr int kMaxBlockLen = F::kBlockLen, kMaxVectorDim = F::kVectorDim;

  STEELYARD_HD static constexpr int block_len() { return F::kBlockLen; }
  STEELYARD_HD static constexpr int block_bytes() { return sizeof(typename F::Block); }
  STEELYARD_HD static constexpr int vector_dim() { return F::kVectorDim; }
  STEELYARD_HD static constexpr bool rescales() { return formats::Rescalable<F>; }
  STEELYARD_HD static constexpr int sub_block() {
    if constexpr (formats::Rescalable<F>) {
      return F::kBlockLen / F::kSubBlocks;
    } else {
      return F::kBlockLen;
    }
  }

  STEELYARD_HD static void fit(const float* x, const float* w, formats::Effort effort, Scales& scales,
                               uint32_t* codes) {
    simd::assign(scales, formats::fit_block<F>(x, w, effort, codes));
  }
  STEELYARD_HD static uint32_t round(const float* x, const float* w, const Scales& scales, int position,
                                     float* values) {
    return F::round(x, w, scales, position, values);
  }
  STEELYARD_HD static void rescale(const float* x, const float* w, int position, formats::Effort effort,
                                   Scales& scales) {
    if constexpr (formats::Rescalable<F>) F::rescale(x, w, position, effort, scales);
  }
  STEELYARD_HD static void refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
    F::refit(x, w, codes, scales);
  }
  STEELYARD_HD static void pack(const Scales& scales, const uint32_t* codes, std::byte* block) {
    F::pack(scales, codes, *reinterpret_cast<typename F::Block*>(block));
  }
  STEELYARD_HD static void values(const Scales& scales, const uint32_t* codes, float* out) {
    simd::Common<typename F::Block> block;
    simd::once([&] { F::pack(scales, codes, *block); });
    formats::decode_blocks<F>(reinterpret_cast<const std::byte*>(&*block), 1, out);
  }
};

/// One step of error feedback. There is a kernel for each, because nvcc takes twice as long for all in one.
template <class F, LdlqStep kStep>
__global__ void __launch_bounds__(kEncodeThreads) ldlq_step(LdlqArgs args) {
  if constexpr (HasCodebook<F>) load_books<F>(args.books);
  const int64_t row = half_warp_number();
  if (row >= args.n_rows) return;
  empty_stack(stack_bytes_of_rows<F>(static_cast<formats::Effort>(args.inputs.effort)));
  const int64_t n = args.inputs.n, n_blocks = n / F::kBlockLen;
  simd::Common<float[formats::kPanelLen]> product;
  if constexpr (kStep != LdlqStep::kFinish) {
    const auto width = static_cast<int>(formats::LdlqPanel(args.inputs, args.begin).width);
    simd::each(width, [&](int k) { (*product)[k] = args.products[row * formats::kPanelLen + k]; });
  }
  const formats::LdlqRow<StepsOf<F>> steps(
      {}, args.inputs,
      {args.rows + row * n, args.errors + row * n, *product,
       static_cast<typename F::Scales*>(args.scales) + row * n_blocks, args.codes + row * (n / F::kVectorDim)});
  if constexpr (kStep == LdlqStep::kRound) steps.round(formats::LdlqPanel(args.inputs, args.begin));
  if constexpr (kStep == LdlqStep::kDescend) steps.descend(formats::LdlqPanel(args.inputs, args.begin));
  if constexpr (kStep == LdlqStep::kFinish) {
    steps.compensate_shrinkage(args.energy[row], args.projection[row]);
    steps.pack(args.out + row * n_blocks * static_cast<int64_t>(sizeof(typename F::Block)));
  }
}

template <class F>
cudaError_t launch_ldlq(LdlqStep step, const LdlqArgs& args, cudaStream_t stream) {
  const dim3 grid = grid_of_half_warps(args.n_rows), block(kEncodeThreads);
  const size_t shared = shared_bytes(stack_bytes_of_rows<F>(static_cast<formats::Effort>(args.inputs.effort)));
  switch (step) {
    case LdlqStep::kRound:
      return CUDA_LAUNCH((ldlq_step<F, LdlqStep::kRound>), grid, block, shared, stream, args);
    case LdlqStep::kDescend:
      return CUDA_LAUNCH((ldlq_step<F, LdlqStep::kDescend>), grid, block, shared, stream, args);
    default:
      return CUDA_LAUNCH((ldlq_step<F, LdlqStep::kFinish>), grid, block, shared, stream, args);
  }
}

}  // namespace steelyard::compute::cuda
