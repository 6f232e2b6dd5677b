#include "compute/cpu/rows.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "compute/cpu/gemm.h"

namespace steelyard::cpu {

constexpr Type kTypes[] = {
#define FORMAT(name, id) Type::name,
#include "formats/formats.def"
#undef FORMAT
};
using Table = std::array<Rows, std::size(kTypes)>;

// rows.isa.cc, once per instruction set.
namespace scalar {
extern const Table kRows;
}
namespace avx2 {
extern const Table kRows;
}
namespace avx512 {
extern const Table kRows;
}

const Rows& rows(Isa isa, const Format& format) {
  static constexpr const Table* kTables[kIsaCount] = {&scalar::kRows, &avx2::kRows, &avx512::kRows};
  const auto at = std::ranges::find(kTypes, format.type) - std::begin(kTypes);
  const Rows& found = (*kTables[static_cast<int>(isa)])[static_cast<size_t>(at)];
  STEELYARD_CHECK(found.decode != nullptr);
  return found;
}

void add_group_sums(const int16_t* codes, const float* scales, int64_t n, float* group_sums) {
  for (int64_t g = 0; g < n / kGroupLen; ++g) {
    int32_t sum = 0;
    for (int i = 0; i < kGroupLen; ++i) sum += codes[g * kGroupLen + i];
    group_sums[g] = scales[g * kGroupLen / kCodeBlock] * static_cast<float>(sum);
  }
}

}  // namespace steelyard::cpu
