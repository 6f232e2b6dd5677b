#include "calibrate/collect_state.h"

#include <cstring>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/check.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/sha256.h"

namespace steelyard {
namespace {

constexpr std::string_view kMagic = "STEELIMX";

// Appends to the file and to its checksum.
class Sink {
 public:
  explicit Sink(const std::string& path) : file_(path) {}

  void bytes(std::span<const std::byte> bytes) {
    file_.append(bytes);
    hash_.update(bytes);
  }
  void text(std::string_view text) { bytes(std::as_bytes(std::span(text.data(), text.size()))); }
  void number(int64_t value) { bytes(std::as_bytes(std::span(&value, 1))); }
  void broken(const BrokenChunks& broken) {
    number(static_cast<int64_t>(broken.size()));
    for (const auto& [chunk, layer] : broken) {
      number(chunk);
      number(layer);
    }
  }
  void finish() {
    file_.append(hash_.hex());
    file_.finish();
  }

 private:
  AtomicFile file_;
  Sha256 hash_;
};

// Takes values from a checked file in order. Missing or left-over values mean that the file is damaged.
class Source {
 public:
  Source(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  [[noreturn]] void damaged() const { fail(path_, "is damaged"); }

  std::span<const std::byte> take(uint64_t n) {
    if (n > bytes_.size()) damaged();
    const auto taken = bytes_.first(n);
    bytes_ = bytes_.subspan(n);
    return taken;
  }
  int64_t number(int64_t least, int64_t most) {
    int64_t value;
    std::memcpy(&value, take(sizeof(value)).data(), sizeof(value));
    if (value < least || value > most) damaged();
    return value;
  }
  template <typename T>
  std::vector<T> values(int64_t n) {
    const auto size = checked_mul(static_cast<uint64_t>(n), sizeof(T));
    if (!size) damaged();
    const auto from = take(*size);
    std::vector<T> values(static_cast<size_t>(n));
    std::memcpy(values.data(), from.data(), from.size());
    return values;
  }
  BrokenChunks broken(int64_t n_chunks, int n_layers) {
    BrokenChunks broken(static_cast<size_t>(number(0, n_chunks)));
    for (auto& [chunk, layer] : broken) {
      chunk = number(0, n_chunks - 1);
      layer = static_cast<int>(number(-1, n_layers));
    }
    return broken;
  }
  bool at_end() const { return bytes_.empty(); }

 private:
  std::span<const std::byte> bytes_;
  const std::string& path_;
};

}  // namespace

void save_collect_state(const std::string& path, const std::string& identity, const CollectState& state,
                        const std::map<std::string, ImatrixEntry>& entries, LayerSweep* sweep) {
  STEELYARD_CHECK(identity.size() == kSha256Digits && (sweep != nullptr) == (state.next_layer > 0));
  Sink sink(path);
  sink.text(kMagic);
  sink.text(identity);
  const int64_t window = sweep != nullptr ? state.window : 0;
  for (const int64_t value : {state.next_chunk, int64_t{state.next_layer}, window}) sink.number(value);
  sink.broken(state.broken);
  sink.broken(state.window_broken);
  sink.number(static_cast<int64_t>(entries.size()));
  for (const auto& [name, entry] : entries) {
    sink.number(static_cast<int64_t>(name.size()));
    sink.text(name);
    sink.number(entry.n_in);
    sink.number(entry.n_expert);
    sink.bytes(std::as_bytes(std::span(entry.in_sum2)));
    sink.bytes(std::as_bytes(std::span(entry.counts)));
  }
  if (sweep != nullptr) sweep->save([&](std::span<const float> stream) { sink.bytes(std::as_bytes(stream)); });
  sink.finish();
}

std::optional<CollectState> load_collect_state(const std::string& path, const std::string& identity, LayerSweep& sweep,
                                               int64_t n_chunks, int n_layers) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  const MappedFile file(path);
  const std::span<const std::byte> all = file.bytes();
  const size_t fixed = kMagic.size() + 2 * kSha256Digits;
  if (all.size() < fixed || std::memcmp(all.data(), kMagic.data(), kMagic.size()) != 0) {
    fail(path, "is not the progress of a collection");
  }
  const auto content = all.first(all.size() - kSha256Digits);
  const std::string hash = sha256(content);
  Source source(content.subspan(kMagic.size()), path);
  if (std::memcmp(hash.data(), all.data() + content.size(), kSha256Digits) != 0) source.damaged();
  if (std::memcmp(source.take(kSha256Digits).data(), identity.data(), kSha256Digits) != 0) {
    fail(path, "is the progress of a run with another model, text or other settings; delete it to begin anew");
  }

  CollectState state;
  state.next_chunk = source.number(0, n_chunks);
  state.next_layer = static_cast<int>(source.number(0, n_layers));
  state.window = source.number(0, n_chunks - state.next_chunk);
  state.broken = source.broken(n_chunks, n_layers);
  state.window_broken = source.broken(n_chunks, n_layers);
  constexpr int64_t kMost = int64_t{1} << 40;
  for (int64_t left = source.number(0, kMost); left > 0; --left) {
    const auto name = source.take(static_cast<uint64_t>(source.number(1, kMost)));
    ImatrixEntry entry;
    entry.n_in = source.number(1, kMost);
    entry.n_expert = source.number(1, kMost);
    int64_t n = 0;
    if (__builtin_mul_overflow(entry.n_in, entry.n_expert, &n)) source.damaged();
    entry.in_sum2 = source.values<double>(n);
    entry.counts = source.values<int64_t>(entry.n_expert);
    state.entries.emplace(std::string(reinterpret_cast<const char*>(name.data()), name.size()), std::move(entry));
  }
  if (state.next_layer > 0) {
    sweep.restore(state.next_chunk, state.window, state.next_layer, state.window_broken, [&](std::span<float> stream) {
      std::memcpy(stream.data(), source.take(stream.size_bytes()).data(), stream.size_bytes());
    });
  }
  if (!source.at_end()) source.damaged();
  return state;
}

}  // namespace steelyard
