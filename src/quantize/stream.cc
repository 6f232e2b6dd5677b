#include "quantize/stream.h"

#include <algorithm>

#include "base/parallel.h"
#include "base/sha256.h"

namespace steelyard {
namespace {

// Values for each thread between two barriers. The slowest encoders do some millions a second, so the wait at a
// barrier, a group of rows at most, is lost in it; more would only need more memory.
constexpr int64_t kSlabValuesPerThread = int64_t{4} << 20;
// A device wants a block for each of its threads, some hundred thousand.
constexpr int64_t kSlabValuesOnDevice = int64_t{32} << 20;
// Values that a thread takes at a time.
constexpr int64_t kGroupValues = int64_t{1} << 14;

int64_t slab_rows(const gguf::TensorInfo& tensor, const RowEncoder& encoder, uint64_t slab_bytes) {
  const auto n_threads = static_cast<int64_t>(set_thread_count(0));
  const uint64_t row_values = sizeof(float) * static_cast<uint64_t>(tensor.ne[0]),
                 row_bytes = 2 * encoder.target_row_bytes();
  // Threads hold a row as values each, a device takes all of them.
  const uint64_t beside = encoder.on_device() ? 0 : row_values * static_cast<uint64_t>(n_threads);
  const uint64_t of_row = encoder.on_device() ? row_bytes + row_values : row_bytes;
  auto bound = static_cast<int64_t>((slab_bytes - std::min(slab_bytes, beside)) / of_row);
  if (const uint64_t of_slice = encoder.slice_bytes(); of_slice > 0) {
    bound = std::min(bound, std::max<int64_t>(1, static_cast<int64_t>(slab_bytes / of_slice)) * tensor.ne[1]);
  }
  const int64_t enough = encoder.on_device() ? kSlabValuesOnDevice : kSlabValuesPerThread * n_threads;
  return std::clamp<int64_t>(std::min(bound, enough / tensor.ne[0]), 1, tensor.n_rows());
}

struct Slab {
  int64_t begin = 0, n = 0;  // rows
  std::vector<std::byte> bytes;
};

}  // namespace

TensorHashes stream_tensor(const gguf::Reader& source, const gguf::TensorInfo& tensor, RowEncoder& encoder,
                           uint64_t slab_bytes, Output& output, const std::function<void(int64_t rows)>& progress) {
  const std::span<const std::byte> bytes = source.bytes(tensor);
  const int64_t n_rows = tensor.n_rows(), at_once = slab_rows(tensor, encoder, slab_bytes);
  const int64_t group_rows =
      encoder.on_device() ? at_once : std::max(encoder.least_rows(), kGroupValues / tensor.ne[0]);
  const size_t source_row = encoder.source_row_bytes(), target_row = encoder.target_row_bytes();
  Sha256 source_hash, result_hash;
  Slab current, previous;

  for (int64_t next = 0; next < n_rows || previous.n > 0;) {
    current.begin = next;
    current.n = std::min(at_once, n_rows - next);
    current.bytes.resize(std::max(current.bytes.size(), static_cast<size_t>(current.n) * target_row));
    next += current.n;
    const auto begin = static_cast<uint64_t>(current.begin) * source_row,
               end = static_cast<uint64_t>(next) * source_row;
    source.will_need(tensor, end, std::min<uint64_t>(bytes.size(), end + (end - begin)));
    if (current.n > 0) encoder.prepare(current.begin, current.n);
    const auto finished = std::span(previous.bytes).first(static_cast<size_t>(previous.n) * target_row);

    // The three jobs that one thread has to do go first; the others start on the rows meanwhile.
    constexpr int64_t kJobs = 3;
    const int64_t n_groups = (current.n + group_rows - 1) / group_rows;
    parallel_for(kJobs + n_groups, 1, [&](int64_t item) {
      if (item == 0) {
        source_hash.update(bytes.subspan(begin, end - begin));
      } else if (item == 1) {
        result_hash.update(finished);
      } else if (item == 2) {
        output.write(static_cast<uint64_t>(previous.begin) * target_row, finished);
      } else {
        const int64_t first = (item - kJobs) * group_rows;
        encoder.encode(current.begin + first, std::min(group_rows, current.n - first),
                       current.bytes.data() + static_cast<size_t>(first) * target_row);
      }
    });
    source.release(tensor, begin, end);
    if (current.n > 0) progress(next);
    std::swap(current, previous);
  }
  return {source_hash.hex(), result_hash.hex()};
}

}  // namespace steelyard
