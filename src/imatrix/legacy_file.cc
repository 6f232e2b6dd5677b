// The .dat layout: little-endian int32 and float fields without magic, version or padding. Layout: docs/imatrix.md.
#include "imatrix/legacy_file.h"

#include <algorithm>
#include <limits>

#include "base/atomic_file.h"
#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/error.h"

namespace steelyard::imatrix {
namespace {

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
  ByteReader in(bytes, path);
  // The layout has no magic: bytes that do not fit are most likely another file's.
  const auto next = [&](std::string_view what) -> ByteReader& {
    in.set_subject(fmt::format("not an imatrix or cut short: {}", what));
    return in;
  };
  Imatrix imatrix;
  const auto n_entries = next("the number of entries").number<int32_t>(1);
  int32_t most_calls = 0;
  for (int32_t i = 0; i < n_entries; ++i) {
    const std::string name(next(fmt::format("the name of entry {}", i)).string<int32_t>(1));
    const std::string shown = printable(name);
    const auto calls = next(shown + ": the number of calls").number<int32_t>(1);
    const auto n_values = next(shown + ": the number of values").number<int32_t>(1);
    const std::vector<float> stored = next(shown).values<float>(static_cast<uint64_t>(n_values));

    const auto [at, is_new] = imatrix.entries.try_emplace(name);
    if (!is_new) fail(path, "{} appears twice", shown);
    ImatrixEntry& entry = at->second;
    entry.n_in = n_values;
    entry.counts = {calls * imatrix.chunk_size};
    entry.in_sum2.resize(static_cast<size_t>(n_values));
    for (size_t k = 0; k < stored.size(); ++k) {
      entry.in_sum2[k] = static_cast<double>(stored[k]) * static_cast<double>(imatrix.chunk_size);
    }
    most_calls = std::max(most_calls, calls);
  }
  // The first writers ended here, later ones after the chunk count.
  imatrix.chunk_count = in.at_end() ? most_calls : next("the chunk count").number<int32_t>(0);
  if (!in.at_end()) imatrix.datasets = {std::string(next("the dataset").string<int32_t>())};
  next("the last field").expect_end();
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
  ByteWriter out(file);
  out.number<int32_t>(static_cast<int32_t>(imatrix.entries.size()));
  for (const auto& [name, entry] : imatrix.entries) {
    const int64_t calls = n_calls(entry, imatrix.chunk_size);
    out.string<int32_t>(name);
    out.number<int32_t>(static_cast<int32_t>(calls));
    out.number<int32_t>(static_cast<int32_t>(entry.in_sum2.size()));
    out.values(std::span<const float>(stored_values(entry, calls)));
  }
  out.number<int32_t>(static_cast<int32_t>(imatrix.chunk_count));
  out.string<int32_t>(imatrix.datasets.empty() ? std::string_view() : imatrix.datasets.back());
  file.finish();
}

}  // namespace steelyard::imatrix
