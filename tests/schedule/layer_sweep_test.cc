// The sweep against token-major iteration, and what an observer sees when a chunk breaks.
#include "schedule/layer_sweep.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <mutex>

#include "base/error.h"
#include "compute/cpu/cpu_backend.h"
#include "gguf/reader.h"
#include "model/architecture.h"
#include "schedule/session.h"
#include "support.h"

namespace steelyard::schedule {
namespace {

std::vector<int32_t> ids_of(int64_t chunk) {
  std::vector<int32_t> ids(16);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>((17 * static_cast<size_t>(chunk) + 5 * i) % 200);
  return ids;
}

// Counts rows that came and batches that counted.
struct Watcher : compute::MatmulObserver {
  void dense(compute::Backend&, const compute::Weight&, int64_t, compute::Matrix x) override { rows += x.rows; }
  void experts(compute::Backend&, const compute::Weight&, compute::Matrix, const compute::Routing&) override {}
  void end_batch(compute::Backend&, bool counts) override {
    (counts ? counted : forgotten) += rows;
    rows = 0;
  }
  int64_t rows = 0, counted = 0, forgotten = 0;
};

void run_layer(LayerSweep& sweep, int i) {
  compute::MatmulObserver* const nobody = nullptr;
  sweep.run_layers(i, std::span(&nobody, 1));
}

TEST(LayerSweep, SameStreamsAsTokenMajor) {
  const gguf::Reader reader(test::golden("models/deepseek2/model.gguf"));
  const auto backend = compute::make_backend("cpu");
  const model::Model model(reader, *backend);
  LayerSweep sweep(model, 16, ids_of, {.n_batch = 48});
  sweep.start(0, 5);
  for (int i = 0; i < model.n_layers(); ++i) run_layer(sweep, i);
  std::vector<int64_t> seen;
  Session session(model, 16);
  sweep.visit([&](std::span<const int64_t> chunks, compute::Matrix x, model::ForwardContext&) {
    for (size_t s = 0; s < chunks.size(); ++s) {
      session.reset();
      const compute::Matrix expected = session.forward(ids_of(chunks[s]));
      for (int64_t r = 0; r < 16; ++r) {
        for (int64_t c = 0; c < x.cols; ++c) {
          EXPECT_NEAR(x.row(static_cast<int64_t>(s) * 16 + r)[c], expected.row(r)[c], 1e-4);
        }
      }
      seen.push_back(chunks[s]);
    }
    return x;
  });
  EXPECT_EQ(seen, (std::vector<int64_t>{0, 1, 2, 3, 4}));
}

// Layers of different backends at the same time give the same as one after the other: hidden states, and what their
// observers saw.
TEST(LayerSweep, LayersTogetherAreLayersInTurn) {
  const gguf::Reader reader(test::golden("models/glm4moe/model.gguf"));
  std::vector<std::unique_ptr<compute::Backend>> backends;
  for (int i = 0; i < 2; ++i) backends.push_back(compute::make_backend("cpu"));
  const auto n_layers = static_cast<size_t>(model::read_config(reader).layers.size());
  std::vector<compute::Backend*> in_turns;
  for (size_t i = 0; i < n_layers; ++i) in_turns.push_back(backends[i % 2].get());
  const model::Model both(reader, in_turns), alone(reader, *backends[0]);
  const auto hidden_states = [&](const model::Model& model) {
    LayerSweep sweep(model, 16, ids_of, {.n_batch = 32});
    sweep.start(0, 9);
    while (sweep.next_layer() < model.n_layers()) {
      const int first = sweep.next_layer(), n = sweep.layers_together(first);
      std::vector<Watcher> watchers(static_cast<size_t>(n));
      std::vector<compute::MatmulObserver*> observers;
      for (Watcher& watcher : watchers) observers.push_back(&watcher);
      sweep.run_layers(first, observers);
      EXPECT_EQ(sweep.next_layer(), first + n);
      for (const Watcher& watcher : watchers) EXPECT_GT(watcher.counted, 0);
    }
    std::vector<float> all;
    sweep.save([&](std::span<const float> values) { all.insert(all.end(), values.begin(), values.end()); });
    return all;
  };
  EXPECT_EQ(LayerSweep(both, 16, ids_of).layers_together(0), 2);
  EXPECT_EQ(LayerSweep(alone, 16, ids_of).layers_together(0), 1);
  EXPECT_EQ(LayerSweep(both, 16, ids_of, {.keep_layers = true}).layers_together(0), 1);
  EXPECT_EQ(hidden_states(both), hidden_states(alone));
}

// Says whether a layer's weights came while the one before was at work, which waits for them if told to.
class LoadingBackend : public compute::CpuBackend {
 public:
  LoadingBackend(uint64_t free, bool waits)
      : compute::CpuBackend(compute::Precision::kExact), free_(free), waits_(waits) {}
  std::optional<uint64_t> free_memory() const override { return free_; }
  compute::Weight load(compute::Weight host) override {
    const std::lock_guard lock(mutex_);
    if (host.name.starts_with("blk.1.")) {
      second_layer_ = true;
      changed_.notify_all();
    }
    return compute::CpuBackend::load(std::move(host));
  }
  void rms_norm(compute::Matrix x, const float* weight, float eps, compute::Matrix out) override {
    std::unique_lock lock(mutex_);
    if (waits_) changed_.wait_for(lock, std::chrono::minutes(1), [&] { return second_layer_; });
    compute::CpuBackend::rms_norm(x, weight, eps, out);
  }
  bool second_layer() const { return second_layer_; }

 private:
  const uint64_t free_;
  const bool waits_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool second_layer_ = false;
};

TEST(LayerSweep, BindsTheNextLayerWhileOneIsAtWork) {
  const gguf::Reader reader(test::golden("models/deepseek2/model.gguf"));
  for (const bool room : {true, false}) {
    LoadingBackend backend(room ? uint64_t{1} << 30 : 1000, /*waits=*/room);
    const model::Model model(reader, backend);
    LayerSweep sweep(model, 16, ids_of);
    sweep.start(0, 2);
    run_layer(sweep, 0);
    EXPECT_EQ(backend.second_layer(), room);
    run_layer(sweep, 1);
    EXPECT_TRUE(backend.second_layer());
  }
}

// What cannot be bound ahead is an error when its turn comes, not before.
class FailingBackend : public compute::CpuBackend {
 public:
  explicit FailingBackend(int failures) : compute::CpuBackend(compute::Precision::kExact), failures_(failures) {}
  compute::Weight load(compute::Weight host) override {
    if (host.name.starts_with("blk.1.") && failures_-- > 0) fail("device", "out of memory");
    return compute::CpuBackend::load(std::move(host));
  }

 private:
  std::atomic<int> failures_;
};

TEST(LayerSweep, TriesAgainWhatCouldNotBeBoundAhead) {
  const gguf::Reader reader(test::golden("models/deepseek2/model.gguf"));
  for (const int failures : {1, 2}) {
    FailingBackend backend(failures);
    const model::Model model(reader, backend);
    LayerSweep sweep(model, 16, ids_of);
    sweep.start(0, 2);
    EXPECT_NO_THROW(run_layer(sweep, 0));
    if (failures == 1)
      EXPECT_NO_THROW(run_layer(sweep, 1));
    else
      EXPECT_THROW(run_layer(sweep, 1), Error);
  }
}

TEST(LayerSweep, NeitherWatchingNorPartsChangeAnything) {
  const gguf::Reader reader(test::golden("models/deepseek2/model.gguf"));
  const auto backend = compute::make_backend("cpu");
  const model::Model model(reader, *backend);
  const auto hidden_states = [&](bool watch, std::vector<model::LayerPart> parts) {
    LayerSweep sweep(model, 16, ids_of);
    sweep.start(0, 3);
    const model::Layer layer = model.layer(0, 16);
    Watcher watcher;
    if (watch) sweep.watch(layer, model::LayerPart::kWhole, 1, 3, watcher);
    EXPECT_EQ(watcher.counted > 0, watch);
    for (const model::LayerPart part : parts) sweep.advance(layer, part);
    std::vector<float> all;
    sweep.save([&](std::span<const float> part) { all.insert(all.end(), part.begin(), part.end()); });
    return all;
  };
  const std::vector<float> whole = hidden_states(false, {model::LayerPart::kWhole});
  EXPECT_EQ(hidden_states(true, {model::LayerPart::kWhole}), whole);
  EXPECT_EQ(hidden_states(false, {model::LayerPart::kMixer, model::LayerPart::kFfn}), whole);
  EXPECT_NE(hidden_states(false, {model::LayerPart::kMixer}), whole);
}

// Layers that pass together say of a chunk where it broke first, and do not see it after that.
TEST(LayerSweep, ChunksBreakInAPipelineAsTheyDoAlone) {
  const gguf::Reader reader(test::golden("models/glm4moe/model.gguf"));
  const auto one = compute::make_backend("ref"), other = compute::make_backend("ref");
  const auto n_layers = static_cast<size_t>(model::read_config(reader).layers.size());
  std::vector<compute::Backend*> in_turns;
  for (size_t i = 0; i < n_layers; ++i) in_turns.push_back((i % 2 == 0 ? one : other).get());
  const model::Model model(reader, in_turns);
  LayerSweep sweep(model, 16, ids_of, {.n_batch = 32});
  const std::vector<float> finite(static_cast<size_t>(16 * model.config().hidden_width()), 0.5f);
  std::vector<float> broken = finite;
  broken[5] = std::numeric_limits<float>::infinity();
  int64_t chunk = 0;
  sweep.restore(0, 6, 0, {},
                [&](std::span<float> values) { std::ranges::copy(chunk++ == 3 ? broken : finite, values.begin()); });
  std::vector<Watcher> watchers(2);
  const std::array<compute::MatmulObserver*, 2> observers = {&watchers[0], &watchers[1]};
  sweep.run_layers(0, observers);
  EXPECT_EQ(sweep.broken(), (std::vector<std::pair<int64_t, int>>{{3, 0}}));
  EXPECT_GT(watchers[0].forgotten, 0);
  EXPECT_EQ(watchers[1].forgotten, 0);
  EXPECT_GT(watchers[1].counted, 0);
}

TEST(LayerSweep, BrokenChunksAreShownToBeForgotten) {
  const gguf::Reader reader(test::golden("models/deepseek2/model.gguf"));
  const auto backend = compute::make_backend("ref");
  const model::Model model(reader, *backend);
  LayerSweep sweep(model, 16, ids_of, {.n_batch = 64});
  sweep.start(0, 4);
  Watcher watcher;
  std::vector<std::vector<int64_t>> batches;
  sweep.visit(
      [&](std::span<const int64_t> chunks, compute::Matrix x, model::ForwardContext& ctx) {
        batches.emplace_back(chunks.begin(), chunks.end());
        ctx.observer->dense(ctx.backend, model.output(), 0, x);
        const auto found = std::ranges::find(chunks, 2);
        if (found != chunks.end()) x.row((found - chunks.begin()) * 16 + 7)[1] = std::numeric_limits<float>::infinity();
        return x;
      },
      &watcher);
  EXPECT_EQ(batches, (std::vector<std::vector<int64_t>>{{0, 1, 2, 3}, {0, 1, 3}}));
  EXPECT_EQ(watcher.forgotten, 64);
  EXPECT_EQ(watcher.counted, 48);
  ASSERT_EQ(sweep.broken().size(), 1u);
  EXPECT_EQ(sweep.broken()[0].first, 2);
}

}  // namespace
}  // namespace steelyard::schedule
