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

// rows.simd.cc, once per target.
#define TARGET(enumerator, name, ...) \
  namespace name {                    \
  extern const Table kRows;           \
  }
#include "simd/targets.def"
#undef TARGET

const Rows& rows(simd::Target target, const Format& format) {
  static constexpr simd::PerTarget<Table> kTables({
#define TARGET(enumerator, name, ...) &name::kRows,
#include "simd/targets.def"
#undef TARGET
  });
  const auto at = std::ranges::find(kTypes, format.type) - std::begin(kTypes);
  const Rows& found = kTables[target][static_cast<size_t>(at)];
  STEELYARD_CHECK(found.dot != nullptr || found.unpack != nullptr);
  return found;
}

}  // namespace steelyard::cpu
