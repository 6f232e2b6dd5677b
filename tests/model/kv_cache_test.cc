// Cache types: what a session computes with each, and widths that they cannot hold.
#include "model/kv_cache.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "model/model.h"
#include "schedule/session.h"
#include "support.h"

namespace steelyard::model {
namespace {

using testing::HasSubstr;

std::string model_path(const std::string& name) { return test::golden("models/" + name + "/model.gguf"); }

// Logits of the last of 40 tokens, the later ones one by one from the cache.
std::vector<float> last_logits(const std::string& name, CacheTypes types) {
  const gguf::Reader reader(model_path(name));
  const auto backend = compute::make_backend("cpu");
  const Model model(reader, *backend, types);
  schedule::Session session(model, 40);
  std::vector<int32_t> ids(40);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 5 % 60 + 3);
  Matrix x = session.forward(std::span(ids).first(30));
  for (size_t i = 30; i < ids.size(); ++i) x = session.forward(std::span(ids).subspan(i, 1));
  const Matrix logits = session.logits(x);
  return {logits.data, logits.data + logits.cols};
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (static_cast<double>(a[i]) - b[i]) * (a[i] - b[i]);
    norm += static_cast<double>(b[i]) * b[i];
  }
  return std::sqrt(difference / norm);
}

TEST(CacheTypes, RoundingShowsAsMuchAsItShould) {
  for (const char* model : {"llama", "gpt-oss"}) {
    const std::vector<float> exact = last_logits(model, {});
    const auto off = [&](formats::Type keys, formats::Type values) {
      return distance(last_logits(model, {keys, values}), exact);
    };
    const double half = off(formats::Type::F16, formats::Type::F16),
                 brain = off(formats::Type::BF16, formats::Type::BF16);
    EXPECT_GT(half, 0) << model;
    EXPECT_LT(half, 5e-3) << model;
    EXPECT_GT(brain, half) << model;
    EXPECT_LT(brain, 2e-2) << model;
    EXPECT_GT(off(formats::Type::F32, formats::Type::F16), 0) << model;
    EXPECT_GT(off(formats::Type::F16, formats::Type::F32), 0) << model;
  }
}

AttentionConfig heads(int64_t head_k, int64_t head_v) {
  AttentionConfig config;
  config.n_head = config.n_head_kv = 2;
  config.head_k = head_k;
  config.head_v = head_v;
  return config;
}

std::string complaint(const AttentionConfig& config, CacheTypes types) {
  return test::error_of([&] { check_cache_types(config, types); });
}

TEST(CacheTypes, HeadsThatDoNotDivideAreNamed) {
  EXPECT_EQ(complaint(heads(64, 32), {formats::Type::Q8_0, formats::Type::Q4_0}), "");
  EXPECT_EQ(complaint(heads(80, 33), {formats::Type::F16, formats::Type::F32}), "");
  EXPECT_THAT(complaint(heads(80, 32), {formats::Type::Q8_0, formats::Type::Q8_0}),
              HasSubstr("keys in Q8_0: 80 values do not divide into blocks of 32"));
  EXPECT_THAT(complaint(heads(64, 48), {formats::Type::Q8_0, formats::Type::Q4_0}),
              HasSubstr("values in Q4_0: 48 values"));
  EXPECT_THAT(complaint(heads(256, 256), {formats::Type::IQ2_XS, formats::Type::F32}),
              HasSubstr("cannot hold keys in IQ2_XS"));
  EXPECT_THAT(complaint(heads(256, 256), {formats::Type::I8, formats::Type::F32}), HasSubstr("cannot hold keys in I8"));

  AttentionConfig latent = heads(64, 64);
  latent.mixer = Mixer::kLatent;
  latent.kv_lora_rank = 512;
  latent.rope.n_dims = 64;
  EXPECT_EQ(complaint(latent, {formats::Type::Q8_0, formats::Type::F32}), "");
  latent.rope.n_dims = 24;
  EXPECT_THAT(complaint(latent, {formats::Type::Q8_0, formats::Type::F32}),
              HasSubstr("latents with keys in Q8_0: 536 values"));
}

TEST(CacheTypes, MemoryIsThatOfTheTypes) {
  const auto backend = compute::make_backend("cpu");
  const KvLayer kv = make_kv_layer(*backend, heads(64, 32), 10, {formats::Type::Q8_0, formats::Type::Q4_0});
  EXPECT_EQ(kv.keys.stride, 192);   // 4 blocks of 34 bytes, whole cache lines
  EXPECT_EQ(kv.values.stride, 64);  // 2 blocks of 18 bytes
  EXPECT_EQ(kv.values.data - kv.keys.data, 1920);
}

}  // namespace
}  // namespace steelyard::model
