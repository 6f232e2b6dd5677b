// Layers with several sequences in one batch, in caches of their own or in parts of one: as if each were alone.
#include "model/forward.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>
#include <set>
#include <string>

#include "gguf/reader.h"
#include "model/model.h"
#include "support.h"

namespace steelyard::model {
namespace {

// Hidden states of some tokens.
struct States {
  States(int64_t n, int64_t width) : n_rows(n), n_cols(width), values(static_cast<size_t>(n * width)) {}
  Matrix matrix() { return {values.data(), n_rows, n_cols, n_cols}; }
  int64_t n_rows, n_cols;
  std::vector<float> values;
};

States random_states(int64_t n, const ModelConfig& config, uint32_t seed) {
  States states(n, config.hidden_width());
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::ranges::generate(states.values, [&] { return normal(random); });
  for (int64_t r = 0; config.streams.has_id && r < n; ++r)
    *config.streams.id(states.matrix()).row(r) = static_cast<float>(random() % static_cast<uint32_t>(config.n_vocab));
  return states;
}

double distance(Matrix a, Matrix b) {
  double largest = 0;
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.cols; ++c) {
      const double difference = std::abs(double{a.row(r)[c]} - b.row(r)[c]);
      largest = difference <= largest ? largest : difference;  // NaN stays
    }
  }
  return largest;
}

// A step of a sequence: n rows at a position.
struct Step {
  size_t sequence;
  int64_t n;
};

constexpr int64_t kPositions = 24;  // of a sequence

class ForwardLayer : public testing::TestWithParam<std::string> {
 protected:
  void open(const char* backend, CacheTypes types = {}) {
    backend_ = compute::make_backend(backend);
    model_ = std::make_unique<Model>(reader_, *backend_, types);
    types_ = types;
  }
  const Model& model() const { return *model_; }

  KvLayer cache(const Layer& layer, int64_t n_positions) const {
    KvLayer kv = make_kv_layer(*backend_, layer.config.attention, n_positions, types_);
    // What nobody stored must not be read: all bits set are NaN in every type of float.
    if (kv.keys.data != nullptr) {
      std::memset(kv.keys.data, 0xFF, static_cast<size_t>(kv.keys.rows * kv.keys.stride));
      std::memset(kv.values.data, 0xFF, static_cast<size_t>(kv.values.rows * kv.values.stride));
    }
    return kv;
  }

  // Passes batches of steps through a layer. Where a sequence's cache is, and from which row on, is up to the caller.
  struct Place {
    KvLayer* kv;
    int64_t begin;
  };
  std::vector<States> run(const Layer& layer, const std::vector<std::vector<Step>>& batches,
                          std::vector<Place> places) {
    Scratch scratch(*backend_);
    ForwardContext ctx{*backend_, scratch, model().config().norm_eps};
    std::vector<int64_t> positions(places.size());
    std::vector<States> results;
    uint32_t seed = 0;
    for (const std::vector<Step>& batch : batches) {
      std::vector<SequenceSlice> slices;
      int64_t n = 0;
      for (const Step& step : batch) {
        slices.push_back({n, step.n, positions[step.sequence], places[step.sequence].kv, places[step.sequence].begin});
        positions[step.sequence] += step.n;
        n += step.n;
      }
      States x = random_states(n, model().config(), ++seed);
      forward_layer(layer, x.matrix(), slices, ctx);
      results.push_back(x);
    }
    return results;
  }

  // The same steps one by one, each a batch of its own.
  std::vector<States> run_alone(const Layer& layer, const std::vector<std::vector<Step>>& batches, size_t n_sequences) {
    Scratch scratch(*backend_);
    ForwardContext ctx{*backend_, scratch, model().config().norm_eps};
    std::vector<KvLayer> caches;
    for (size_t s = 0; s < n_sequences; ++s) caches.push_back(cache(layer, kPositions));
    std::vector<int64_t> positions(n_sequences);
    std::vector<States> results;
    uint32_t seed = 0;
    for (const std::vector<Step>& batch : batches) {
      int64_t n = 0;
      for (const Step& step : batch) n += step.n;
      States x = random_states(n, model().config(), ++seed);
      int64_t row = 0;
      for (const Step& step : batch) {
        forward_layer(layer, x.matrix().slice(row, step.n), positions[step.sequence], caches[step.sequence], ctx);
        positions[step.sequence] += step.n;
        row += step.n;
      }
      results.push_back(x);
    }
    return results;
  }

  // ref gives every row the same bits in any batch. cpu does not where a row is alone, nor to what sees it later; a
  // cache of halves may then round a value to the next one.
  void expect_same(std::vector<States>& found, std::vector<States>& alone,
                   const std::vector<std::vector<Step>>& batches) {
    ASSERT_EQ(found.size(), alone.size());
    std::set<size_t> were_alone;
    // One vector is key and value of all heads there, and blocks of it are pooled.
    const bool compressed = model().config().layers[0].attention.mixer == Mixer::kCompressed;
    const double tolerance = compressed && types_.keys != formats::Type::F32 ? 2e-3 : 1e-4;
    for (size_t b = 0; b < batches.size(); ++b) {
      int64_t row = 0;
      for (const Step& step : batches[b]) {
        if (step.n == 1 && batches[b].size() > 1) were_alone.insert(step.sequence);
        const bool exact = backend_->name() == "ref" || !were_alone.contains(step.sequence);
        const double off = distance(found[b].matrix().slice(row, step.n), alone[b].matrix().slice(row, step.n));
        EXPECT_TRUE(exact ? off == 0 : off < tolerance)
            << off << " in batch " << b << ", sequence " << step.sequence << " on " << backend_->name();
        row += step.n;
      }
    }
  }

  const gguf::Reader reader_{test::golden("models/" + GetParam() + "/model.gguf")};
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  CacheTypes types_;
};

std::vector<std::string> golden_models() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(test::golden("models"))) {
    if (std::filesystem::exists(entry.path() / "model.gguf")) names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Models, ForwardLayer, testing::ValuesIn(golden_models()), [](const auto& instance) {
  std::string name = instance.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

TEST_P(ForwardLayer, SequencesOfOneBatch) {
  const std::vector<std::vector<Step>> batches = {
      {{0, 5}, {1, 1}, {2, 9}}, {{2, 2}, {0, 1}}, {{1, 1}, {2, 1}, {0, 1}}, {{0, 2}}, {{1, 20}, {2, 3}}};
  for (const char* backend : {"ref", "cpu"}) {
    open(backend);
    for (int i = 0; i < model().n_layers(); ++i) {
      SCOPED_TRACE("layer " + std::to_string(i));
      const Layer layer = model().layer(i, kPositions);
      std::vector<KvLayer> caches;
      for (int s = 0; s < 3; ++s) caches.push_back(cache(layer, kPositions));
      auto found = run(layer, batches, {{&caches[0], 0}, {&caches[1], 0}, {&caches[2], 0}});
      auto alone = run_alone(layer, batches, 3);
      expect_same(found, alone, batches);
    }
  }
}

// Texts that follow each other in one cache, as those of a chunk do; the second one goes on in the next batch. The
// cache has just the room that they need.
TEST_P(ForwardLayer, SequencesInPartsOfOneCache) {
  const std::vector<std::vector<Step>> batches = {{{0, 5}, {1, 8}}, {{1, 3}, {2, 2}, {3, 1}, {4, 4}}, {{4, 1}}};
  for (const auto& [backend, types] :
       {std::pair{"ref", CacheTypes{}}, {"cpu", CacheTypes{}}, {"cpu", {formats::Type::F16, formats::Type::BF16}}}) {
    open(backend, types);
    for (int i = 0; i < model().n_layers(); ++i) {
      SCOPED_TRACE("layer " + std::to_string(i));
      const Layer layer = model().layer(i, kPositions);
      KvLayer kv = cache(layer, 24);
      auto found = run(layer, batches, {{&kv, 0}, {&kv, 5}, {&kv, 16}, {&kv, 18}, {&kv, 19}});
      auto alone = run_alone(layer, batches, 5);
      expect_same(found, alone, batches);
    }
  }
}

}  // namespace
}  // namespace steelyard::model
