#include "quantize/stream.h"

#include <algorithm>

#include "base/parallel.h"

namespace steelyard::quantize {
namespace {

// Values per thread between two barriers. The slowest encoders do some millions a second. So the wait at a barrier, at
// most a group of rows, is negligible. More values would only need more memory.
constexpr int64_t kSlabValuesPerThread = int64_t{4} << 20;
// A device needs a block for each of its threads, some hundred thousand.
constexpr int64_t kSlabValuesOnDevice = int64_t{32} << 20;
// Values that a thread takes at a time. It bounds the wait for the last thread at the end of a slab: 0.1 ms.
constexpr int64_t kGroupValues = int64_t{1} << 12;

}  // namespace

int64_t TensorStream::slab_rows(const gguf::TensorInfo& tensor, const RowEncoder& encoder) const {
  const auto n_threads = static_cast<int64_t>(set_thread_count(0));
  const uint64_t row_values = sizeof(float) * static_cast<uint64_t>(tensor.ne[0]),
                 row_bytes = 2 * encoder.target_row_bytes();
  // Each CPU thread holds one row as F32 values. A device holds all of them.
  const uint64_t beside = pending_.n_bytes + (encoder.on_device() ? 0 : row_values * static_cast<uint64_t>(n_threads));
  const uint64_t of_row = encoder.on_device() ? row_bytes + row_values : row_bytes;
  auto bound = static_cast<int64_t>((slab_bytes_ - std::min(slab_bytes_, beside)) / of_row);
  if (const uint64_t of_slice = encoder.slice_bytes(); of_slice > 0) {
    bound = std::min(bound, std::max<int64_t>(1, static_cast<int64_t>(slab_bytes_ / of_slice)) * tensor.ne[1]);
  }
  const int64_t enough = encoder.on_device() ? kSlabValuesOnDevice : kSlabValuesPerThread * n_threads;
  return std::clamp<int64_t>(std::min(bound, enough / tensor.ne[0]), 1, tensor.n_rows());
}

void TensorStream::push(const gguf::TensorInfo& tensor, RowEncoder& encoder,
                        const std::function<void(int64_t rows)>& progress) {
  if (tensor.n_elements() == 0) {
    finish();
    const std::string of_nothing = sha256(std::string_view());
    output_.finish_tensor({of_nothing, of_nothing});
    return;
  }
  const int64_t n_rows = tensor.n_rows(), at_once = slab_rows(tensor, encoder);
  const int64_t group_rows = encoder.on_device() ? at_once : std::max(encoder.min_rows(), kGroupValues / tensor.ne[0]);
  const size_t source_row = encoder.source_row_bytes(), target_row = encoder.target_row_bytes();
  Sha256 source_hash;

  for (int64_t row = 0; row < n_rows;) {
    const int64_t n = std::min(at_once, n_rows - row);
    const auto begin = static_cast<uint64_t>(row) * source_row, end = static_cast<uint64_t>(row + n) * source_row;
    const gguf::Bytes rows = source_.read(tensor, begin, end);
    source_.will_need(tensor, end, std::min<uint64_t>(tensor.n_bytes, end + (end - begin)));
    encoder.prepare(row, n);
    next_.begin = static_cast<uint64_t>(row) * target_row;
    next_.n_bytes = static_cast<size_t>(n) * target_row;
    next_.buffer.resize(std::max(next_.buffer.size(), next_.n_bytes));
    next_.copied = encoder.copies();

    // The three jobs that only one thread can do start first. The other threads begin with the rows meanwhile.
    constexpr int64_t kJobs = 3;
    parallel_for(kJobs + (n + group_rows - 1) / group_rows, 1, [&](int64_t item) {
      if (item == 0) {
        source_hash.update(rows);
      } else if (item == 1) {
        hash_pending();
      } else if (item == 2) {
        write_pending();
      } else {
        const int64_t first = (item - kJobs) * group_rows;
        encoder.encode(row + first, std::min(group_rows, n - first),
                       rows.data() + static_cast<size_t>(first) * source_row,
                       next_.buffer.data() + static_cast<size_t>(first) * target_row);
      }
    });
    settle();
    std::swap(pending_, next_);
    source_.release(tensor, begin, end);
    row += n;
    progress(row);
  }
  pending_.source_hash = source_hash.hex();
}

void TensorStream::finish() {
  parallel_for(2, 1, [&](int64_t job) { job == 0 ? hash_pending() : write_pending(); });
  settle();
}

void TensorStream::hash_pending() {
  if (!pending_.copied) result_hash_.update(pending_.bytes());
}

void TensorStream::write_pending() {
  if (pending_.n_bytes > 0) output_.write(pending_.begin, pending_.bytes());
}

void TensorStream::settle() {
  if (pending_.source_hash) {
    output_.finish_tensor({*pending_.source_hash, pending_.copied ? *pending_.source_hash : result_hash_.hex()});
    result_hash_ = Sha256();
  }
  pending_.n_bytes = 0;
  pending_.source_hash.reset();
}

}  // namespace steelyard::quantize
