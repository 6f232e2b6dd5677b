#include "calibrate/collect_state.h"

#include "base/byte_writer.h"
#include "base/check.h"
#include "base/resume_file.h"

namespace steelyard::calibrate {
namespace {

constexpr ResumeKind kKind{"STEELIMX", "a collection", "model, text"};

}  // namespace

BrokenChunks read_broken(ByteReader& in, int64_t n_chunks, int n_layers) {
  BrokenChunks broken(static_cast<size_t>(in.number<int64_t>(0, n_chunks)));
  for (auto& [chunk, layer] : broken) {
    chunk = in.number<int64_t>(0, n_chunks - 1);
    layer = static_cast<int>(in.number<int64_t>(-1, n_layers));
  }
  return broken;
}

std::map<std::string, imatrix::ImatrixEntry> read_entries(ByteReader& in) {
  std::map<std::string, imatrix::ImatrixEntry> entries;
  for (auto left = in.number<int64_t>(0); left > 0; --left) {
    const std::string name(in.string<int64_t>(1));
    imatrix::ImatrixEntry entry;
    entry.n_in = in.number<int64_t>(1);
    entry.n_expert = in.number<int64_t>(1);
    int64_t n = 0;
    if (__builtin_mul_overflow(entry.n_in, entry.n_expert, &n)) in.reject("{} has too many values", printable(name));
    entry.in_sum2 = in.values<double>(static_cast<uint64_t>(n));
    entry.counts = in.values<int64_t>(static_cast<uint64_t>(entry.n_expert));
    entries.emplace(name, std::move(entry));
  }
  return entries;
}

ResumeFile open_collect_state(const std::string& path, const std::string& identity) {
  return path.empty() ? ResumeFile() : ResumeFile(path, kKind, identity);
}

void save_collect_state(ResumeFile& file, const CollectState& state,
                        const std::map<std::string, imatrix::ImatrixEntry>& entries, schedule::LayerSweep* sweep) {
  STEELYARD_CHECK((sweep != nullptr) == (state.next_layer > 0));
  file.save([&](ResumeFile::Writer& writer) {
    ByteWriter out(writer);
    const int64_t window = sweep != nullptr ? state.window : 0;
    for (const int64_t value : {state.next_chunk, int64_t{state.next_layer}, window}) out.number<int64_t>(value);
    write_broken(out, state.broken);
    write_broken(out, state.window_broken);
    write_entries(out, entries);
    if (sweep != nullptr) sweep->save([&](std::span<const float> hidden_states) { out.values(hidden_states); });
  });
}

std::optional<CollectState> load_collect_state(const ResumeFile& file, schedule::LayerSweep& sweep, int64_t n_chunks,
                                               int n_layers) {
  std::optional<ResumeState> saved = file.load();
  if (!saved) return std::nullopt;
  ByteReader& in = saved->content();
  CollectState state;
  state.next_chunk = in.number<int64_t>(0, n_chunks);
  state.next_layer = static_cast<int>(in.number<int64_t>(0, n_layers));
  state.window = in.number<int64_t>(0, n_chunks - state.next_chunk);
  state.broken = read_broken(in, n_chunks, n_layers);
  state.window_broken = read_broken(in, n_chunks, n_layers);
  state.entries = read_entries(in);
  if (state.next_layer > 0) {
    sweep.restore(state.next_chunk, state.window, state.next_layer, state.window_broken,
                  [&](std::span<float> hidden_states) { in.read(hidden_states); });
  }
  in.expect_end();
  return state;
}

}  // namespace steelyard::calibrate
