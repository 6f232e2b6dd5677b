// Sessions whose layers with windows remember no more than their windows.
#include "schedule/session.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "gguf/reader.h"
#include "model/model.h"
#include "schedule/memory_plan.h"
#include "support.h"

namespace steelyard::schedule {
namespace {

constexpr int64_t kTokens = 1400;

std::vector<int32_t> some_ids() {
  std::vector<int32_t> ids(kTokens);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>((i * i + 7 * i) % 251);
  return ids;
}

std::vector<float> rows_of(compute::Matrix x) {
  std::vector<float> values;
  for (int64_t t = 0; t < x.rows; ++t) values.insert(values.end(), x.row(t), x.row(t) + x.cols);
  return values;
}

// Every layer remembers everything.
std::vector<float> with_whole_caches(const model::Model& model, std::span<const int32_t> ids) {
  DeviceContexts contexts(model.config().norm_eps);
  compute::Backend& backend = model.backend();
  const auto n = static_cast<int64_t>(ids.size());
  const compute::Matrix x = contexts.hidden_states(backend, n, model.config().hidden_width());
  model.embed(ids, x);
  for (int i = 0; i < model.n_layers(); ++i) {
    const model::Layer layer = model.layer(i, n);
    model::KvLayer kv = make_kv_layer(backend, layer.config.attention, n, model.cache_types());
    model::ForwardContext ctx = contexts.forward_context(backend);
    forward_layer(layer, x, 0, kv, ctx);
  }
  return rows_of(x);
}

TEST(Session, WindowsAreEnough) {
  const std::vector<int32_t> ids = some_ids();
  for (const char* name : {"gemma3", "gpt-oss", "deepseek4"}) {
    for (const formats::Type type : {formats::Type::F32, formats::Type::F16}) {
      const gguf::Reader reader(test::golden(std::string("models/") + name + "/model.gguf"));
      const auto backend = compute::make_backend("cpu");
      const model::Model model(reader, *backend, {type, type});
      const std::vector<float> expected = with_whole_caches(model, ids);
      Session session(model, kTokens, 2);
      for (int64_t sequence = 0; sequence < 2; ++sequence) {
        // Parts longer than a batch, single tokens, and such that the window moves several times.
        std::vector<float> found;
        size_t begin = 0;
        for (const size_t n : {700, 1, 1, 1, 97, 300, 1, 199, 100}) {
          const SequenceTokens tokens{sequence, std::span(ids).subspan(begin, n)};
          const std::vector<float> part = rows_of(session.forward_batch(std::span(&tokens, 1)));
          found.insert(found.end(), part.begin(), part.end());
          begin += n;
        }
        ASSERT_EQ(begin, ids.size());
        double most = 0;
        for (size_t i = 0; i < found.size(); ++i) most = std::max(most, std::abs(double{found[i]} - expected[i]));
        EXPECT_LE(most, 2e-3) << name << ", sequence " << sequence;  // caches in F16 round what is otherwise equal
      }
      session.reset();
      const std::vector<float> again = rows_of(session.forward(ids));
      ASSERT_EQ(again.size(), expected.size());
      for (size_t i = 0; i < again.size(); ++i) ASSERT_NEAR(again[i], expected[i], 2e-3) << name;
    }
  }
}

TEST(Session, WindowsTakeLittleMemory) {
  for (const char* name : {"gemma3", "gpt-oss"}) {
    const gguf::Reader reader(test::golden(std::string("models/") + name + "/model.gguf"));
    const auto backend = compute::make_backend("cpu");
    const model::Model model(reader, *backend);
    const MemoryPlan plan = plan_memory(reader, model.config(), {65536, 1, 512, 1, {}});
    for (size_t i = 0; i < plan.layers.size(); ++i) {
      const model::AttentionConfig& attention = model.config().layers[i].attention;
      const uint64_t whole = kv_layer_bytes(attention, 65536);
      if (attention.window > 0)
        EXPECT_LT(plan.layers[i].cache, whole / 50) << name << " " << i;
      else
        EXPECT_EQ(plan.layers[i].cache, whole) << name << " " << i;
    }
  }
}

}  // namespace
}  // namespace steelyard::schedule
