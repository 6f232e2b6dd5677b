#include "compute/cpu/rows.h"

#include <algorithm>
#include <array>

#include "base/check.h"

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
void quantize_bytes(const float* x, int64_t n, const ByteInput& out);
}  // namespace scalar
namespace avx2 {
extern const Table kRows;
void quantize_bytes(const float* x, int64_t n, const ByteInput& out);
}  // namespace avx2
namespace avx512 {
extern const Table kRows;
void quantize_bytes(const float* x, int64_t n, const ByteInput& out);
}  // namespace avx512

const Rows& rows(Isa isa, const Format& format) {
  static constexpr const Table* kTables[kIsaCount] = {&scalar::kRows, &avx2::kRows, &avx512::kRows};
  const auto at = std::ranges::find(kTypes, format.type) - std::begin(kTypes);
  const Rows& found = (*kTables[static_cast<int>(isa)])[static_cast<size_t>(at)];
  STEELYARD_CHECK(found.decode != nullptr);
  return found;
}

void quantize_bytes(Isa isa, const float* x, int64_t n, const ByteInput& out) {
  static constexpr decltype(&scalar::quantize_bytes) kFunctions[kIsaCount] = {
      scalar::quantize_bytes, avx2::quantize_bytes, avx512::quantize_bytes};
  STEELYARD_CHECK(n % kByteBlock == 0);
  kFunctions[static_cast<int>(isa)](x, n, out);
}

}  // namespace steelyard::cpu
