// Any bytes as an importance file in either layout: loaded, looked up, merged, summed up, and printed as `inspect`
// prints it.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "fuzz/target.h"
#include "imatrix/coverage.h"
#include "imatrix/imatrix.h"
#include "imatrix/selection.h"
#include "imatrix/statistics.h"

namespace steelyard::imatrix {
namespace {

using fuzz::allow_errors, fuzz::g_sink;

// The weight that the entry may be of, and one of another shape.
void use_entry(const Imatrix& imatrix, const std::string& name, const ImatrixEntry& entry) {
  gguf::TensorInfo tensor;
  tensor.name = name;
  tensor.n_dims = 3;
  tensor.ne = {entry.n_in, 8, entry.n_expert, 1};
  for (const int64_t more : {0, 1}) {
    tensor.ne[0] = entry.n_in + more;
    allow_errors([&] {
      if (imatrix.find(tensor) == nullptr) return;
      for (int64_t slice = 0; slice < std::min<int64_t>(entry.n_expert, 4); ++slice) {
        const std::vector<float> importance = imatrix.importance(tensor, slice);
        for (const float value : importance) STEELYARD_CHECK(value >= 0);
        STEELYARD_CHECK(importance.empty() || std::ssize(importance) == tensor.ne[0]);
      }
    });
  }
  g_sink = static_cast<uint64_t>(coverage(entry, kDefaultPriorWeight).unseen);
}

void use_imatrix(const Imatrix& loaded) {
  for (const auto& [name, entry] : loaded.entries) use_entry(loaded, name, entry);
  const std::vector<ImatrixStatistics> rows = statistics(loaded);
  STEELYARD_CHECK(rows.size() == loaded.entries.size());
  for (const ImatrixStatistics& row : rows) g_sink = row.relative_entropy() > 0;
  g_sink = block_statistics(rows).size() + expert_coverage(loaded.entries, 8).size();
  allow_errors([&] {
    Imatrix merged = loaded;
    merged.merge(loaded);
    STEELYARD_CHECK(merged.entries.size() == loaded.entries.size());
  });
  allow_errors([&] {
    Imatrix selected = loaded;
    const std::vector<std::string> words = {"blk.", "ffn"};
    select_entries(selected, words, {});
  });
}

}  // namespace
}  // namespace steelyard::imatrix

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace steelyard;
  static fuzz::MemoryFile file;
  file.set(data, size);
  fuzz::allow_errors([&] { imatrix::use_imatrix(imatrix::Imatrix::load(file.path())); });
  return 0;
}
