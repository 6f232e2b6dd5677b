// The .dat layout: little-endian int32 and float fields without magic, version or padding. Layout: docs/imatrix.md.
#include "imatrix/legacy_file.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/atomic_file.h"
#include "base/error.h"

namespace steelyard {
namespace {

// Fields from front to back; never reads past the end.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& path) : rest_(bytes), path_(path) {}

  size_t left() const { return rest_.size(); }

  std::span<const std::byte> take(size_t n, std::string_view what) {
    if (n > rest_.size()) fail(path_, "not an imatrix or cut short: {} needs {} bytes, {} are left", what, n, left());
    const std::span<const std::byte> taken = rest_.first(n);
    rest_ = rest_.subspan(n);
    return taken;
  }

  int32_t integer(int32_t lowest, std::string_view what) {
    int32_t value;
    std::memcpy(&value, take(sizeof(value), what).data(), sizeof(value));
    if (value < lowest) fail(path_, "not an imatrix: {} is {}, expected at least {}", what, value, lowest);
    return value;
  }

  std::string text(int32_t lowest_length, std::string_view what) {
    const int32_t length = integer(lowest_length, fmt::format("the length of {}", what));
    const std::span<const std::byte> taken = take(static_cast<size_t>(length), what);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

 private:
  std::span<const std::byte> rest_;
  const std::string& path_;
};

void append(AtomicFile& file, int32_t value) { file.append(std::as_bytes(std::span(&value, 1))); }

void append(AtomicFile& file, std::string_view text) {
  append(file, static_cast<int32_t>(text.size()));
  file.append(text);
}

// Ratios times ncall, so that a reader's division by ncall gives the ratios back. At least one call, because a reader
// cannot divide by zero.
int64_t n_calls(const ImatrixEntry& entry, int64_t chunk_size) {
  const int64_t most = *std::max_element(entry.counts.begin(), entry.counts.end());
  return std::max<int64_t>(1, (most + chunk_size - 1) / chunk_size);
}

// In double: the ratios keep float precision, and what was read from a .dat file is written back bit by bit.
std::vector<float> stored_values(const ImatrixEntry& entry, int64_t n_calls) {
  std::vector<float> values(entry.in_sum2.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const auto count = static_cast<double>(entry.counts[i / static_cast<size_t>(entry.n_in)]);
    const double mean = count == 0 ? 1.0 : entry.in_sum2[i] / count;
    values[i] = static_cast<float>(mean * static_cast<double>(n_calls));
  }
  return values;
}

}  // namespace

Imatrix parse_legacy_imatrix(std::span<const std::byte> bytes, const std::string& path) {
  Cursor cursor(bytes, path);
  Imatrix imatrix;
  const int32_t n_entries = cursor.integer(1, "the number of entries");
  int32_t most_calls = 0;
  for (int32_t i = 0; i < n_entries; ++i) {
    const std::string name = cursor.text(1, fmt::format("the name of entry {}", i));
    const std::string shown = printable(name);
    const int32_t calls = cursor.integer(1, fmt::format("{}: the number of calls", shown));
    const int32_t n_values = cursor.integer(1, fmt::format("{}: the number of values", shown));
    const std::span<const std::byte> stored = cursor.take(static_cast<size_t>(n_values) * sizeof(float), shown);

    const auto [at, is_new] = imatrix.entries.try_emplace(name);
    if (!is_new) fail(path, "{} appears twice", shown);
    ImatrixEntry& entry = at->second;
    entry.n_in = n_values;
    entry.counts = {calls * imatrix.chunk_size};
    entry.in_sum2.resize(static_cast<size_t>(n_values));
    for (size_t k = 0; k < entry.in_sum2.size(); ++k) {
      float value;
      std::memcpy(&value, stored.data() + k * sizeof(value), sizeof(value));
      entry.in_sum2[k] = static_cast<double>(value) * static_cast<double>(imatrix.chunk_size);
    }
    most_calls = std::max(most_calls, calls);
  }
  // The first writers ended here, later ones after the chunk count.
  imatrix.chunk_count = cursor.left() ? cursor.integer(0, "the chunk count") : most_calls;
  if (cursor.left()) imatrix.datasets = {cursor.text(0, "the dataset")};
  if (cursor.left()) fail(path, "not an imatrix: {} bytes follow its end", cursor.left());
  return imatrix;
}

void save_legacy_imatrix(const Imatrix& imatrix, const std::string& path) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  for (const auto& [name, entry] : imatrix.entries) {
    if (static_cast<int64_t>(entry.in_sum2.size()) > kMax || n_calls(entry, imatrix.chunk_size) > kMax) {
      fail(path, "{} has too many columns or inputs for the .dat layout; GGUF holds them", printable(name));
    }
  }
  AtomicFile file(path);
  append(file, static_cast<int32_t>(imatrix.entries.size()));
  for (const auto& [name, entry] : imatrix.entries) {
    const int64_t calls = n_calls(entry, imatrix.chunk_size);
    append(file, std::string_view(name));
    append(file, static_cast<int32_t>(calls));
    append(file, static_cast<int32_t>(entry.in_sum2.size()));
    file.append(std::as_bytes(std::span<const float>(stored_values(entry, calls))));
  }
  append(file, static_cast<int32_t>(imatrix.chunk_count));
  append(file, std::string_view(imatrix.datasets.empty() ? std::string_view() : imatrix.datasets.back()));
  file.finish();
}

}  // namespace steelyard
