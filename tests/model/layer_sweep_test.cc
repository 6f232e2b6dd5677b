// The sweep against token-major iteration, and what an observer sees when a chunk breaks.
#include "model/layer_sweep.h"

#include <gtest/gtest.h>

#include <limits>

#include "support.h"

namespace steelyard {
namespace {

std::vector<int32_t> ids_of(int64_t chunk) {
  std::vector<int32_t> ids(16);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>((17 * static_cast<size_t>(chunk) + 5 * i) % 200);
  return ids;
}

// Counts rows that came and batches that counted.
struct Watcher : MatmulObserver {
  void dense(Backend&, const Weight&, int64_t, Matrix x) override { rows += x.rows; }
  void experts(Backend&, const Weight&, Matrix, const Routing&) override {}
  void end_batch(Backend&, bool counts) override {
    (counts ? counted : forgotten) += rows;
    rows = 0;
  }
  int64_t rows = 0, counted = 0, forgotten = 0;
};

TEST(LayerSweep, SameStreamsAsTokenMajor) {
  const gguf::Reader reader(test::golden("models/deepseek2/model.gguf"));
  const auto backend = make_backend("cpu");
  const Model model(reader, *backend);
  LayerSweep sweep(model, 16, ids_of, {.n_batch = 48});
  sweep.start(0, 5);
  for (int i = 0; i < model.n_layers(); ++i) sweep.run_layer(i);
  std::vector<int64_t> seen;
  Session session(model, 16);
  sweep.visit([&](std::span<const int64_t> chunks, Matrix x, Pass&) {
    for (size_t s = 0; s < chunks.size(); ++s) {
      session.reset();
      const Matrix expected = session.forward(ids_of(chunks[s]));
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

TEST(LayerSweep, NeitherWatchingNorPartsChangeAnything) {
  const gguf::Reader reader(test::golden("models/deepseek2/model.gguf"));
  const auto backend = make_backend("cpu");
  const Model model(reader, *backend);
  const auto streams = [&](bool watch, std::vector<LayerPart> parts) {
    LayerSweep sweep(model, 16, ids_of);
    sweep.start(0, 3);
    const Layer layer = model.layer(0, 16);
    Watcher watcher;
    if (watch) sweep.watch(layer, LayerPart::kWhole, 1, 3, watcher);
    EXPECT_EQ(watcher.counted > 0, watch);
    for (const LayerPart part : parts) sweep.advance(layer, part);
    std::vector<float> all;
    sweep.save([&](std::span<const float> stream) { all.insert(all.end(), stream.begin(), stream.end()); });
    return all;
  };
  const std::vector<float> whole = streams(false, {LayerPart::kWhole});
  EXPECT_EQ(streams(true, {LayerPart::kWhole}), whole);
  EXPECT_EQ(streams(false, {LayerPart::kMixer, LayerPart::kFfn}), whole);
  EXPECT_NE(streams(false, {LayerPart::kMixer}), whole);
}

TEST(LayerSweep, BrokenChunksAreShownToBeForgotten) {
  const gguf::Reader reader(test::golden("models/deepseek2/model.gguf"));
  const auto backend = make_backend("ref");
  const Model model(reader, *backend);
  LayerSweep sweep(model, 16, ids_of, {.n_batch = 64});
  sweep.start(0, 4);
  Watcher watcher;
  std::vector<std::vector<int64_t>> batches;
  sweep.visit(
      [&](std::span<const int64_t> chunks, Matrix x, Pass& pass) {
        batches.emplace_back(chunks.begin(), chunks.end());
        pass.observer->dense(pass.backend, model.output(), 0, x);
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
}  // namespace steelyard
