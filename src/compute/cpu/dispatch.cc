// The one place where the CPU backend picks a target's code: each *.simd.cc is compiled once per target and defines a
// constant in the namespace of its name, and here they become a table.
#include <algorithm>
#include <array>
#include <iterator>

#include "base/check.h"
#include "compute/cpu/byte_panels.h"
#include "compute/cpu/delta_net.h"
#include "compute/cpu/gemm.h"
#include "compute/cpu/kernels.h"
#include "compute/cpu/row_kernels.h"

namespace steelyard::compute::cpu {

constexpr formats::Type kTypes[] = {
#define FORMAT(name, id) formats::Type::name,
#include "formats/formats.def"
#undef FORMAT
};
using RowKernelsOfTypes = std::array<RowKernels, std::size(kTypes)>;

#define TARGET(enumerator, name, ...)            \
  namespace name {                               \
  extern const Kernels kKernels;                 \
  extern const Gemm kGemm;                       \
  extern const BytePanels kBytePanels;           \
  extern const DeltaNetKernels kDeltaNetKernels; \
  extern const RowKernelsOfTypes kRowKernels;    \
  }
#include "simd/targets.def"
#undef TARGET

namespace {

struct Tables {
  const Kernels& kernels;
  const Gemm& gemm;
  const BytePanels& byte_panels;
  const DeltaNetKernels& delta_net;
  const RowKernelsOfTypes& rows;
};

const Tables& tables(simd::Target target) {
  static constexpr Tables kEach[] = {
#define TARGET(enumerator, name, ...) \
  {name::kKernels, name::kGemm, name::kBytePanels, name::kDeltaNetKernels, name::kRowKernels},
#include "simd/targets.def"
#undef TARGET
  };
  return kEach[static_cast<size_t>(target)];
}

}  // namespace

const Kernels& kernels(simd::Target target) { return tables(target).kernels; }
const Gemm& gemm(simd::Target target) { return tables(target).gemm; }
const BytePanels& byte_panels(simd::Target target) { return tables(target).byte_panels; }
const DeltaNetKernels& delta_net_kernels(simd::Target target) { return tables(target).delta_net; }

const RowKernels& row_kernels(simd::Target target, const formats::Format& format) {
  const auto at = std::ranges::find(kTypes, format.type) - std::begin(kTypes);
  const RowKernels& found = tables(target).rows[static_cast<size_t>(at)];
  STEELYARD_CHECK(found.dot != nullptr || found.unpack != nullptr);
  return found;
}

}  // namespace steelyard::compute::cpu
