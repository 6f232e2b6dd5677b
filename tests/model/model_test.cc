// Configurations and faults of models: what is refused, and in which words.
#include "model/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "gguf/reader.h"
#include "gguf/writer.h"
#include "model/opening.h"
#include "support.h"

namespace steelyard::model {
namespace {

// The deepseek2 golden with some metadata or tensors changed.
class ChangedModel {
  // Before the copies that are made of it.
  gguf::Reader source_{test::golden("models/deepseek2/model.gguf")};
  test::TempFolder folder_;

 public:
  gguf::Metadata metadata = source_.metadata();
  std::vector<gguf::TensorInfo> tensors{source_.tensors().begin(), source_.tensors().end()};

  // The Error of opening the changed model; empty when it opens.
  std::string error() const {
    const std::string path = folder_ / "changed.gguf";
    gguf::Writer writer(path, metadata, tensors);
    for (const gguf::TensorInfo& tensor : writer.tensors()) writer.append(std::vector<std::byte>(tensor.n_bytes));
    writer.finish();
    return error_of_opening(path);
  }

  gguf::TensorInfo& tensor(std::string_view name) { return *std::ranges::find(tensors, name, &gguf::TensorInfo::name); }
};

TEST(Model, UnchangedCopyOpens) { EXPECT_EQ(ChangedModel().error(), ""); }

TEST(Model, UnknownArchitecture) {
  ChangedModel model;
  model.metadata.set_string("general.architecture", "hyena");
  EXPECT_THAT(model.error(), testing::HasSubstr("architecture \"hyena\" is unknown (known: llama, qwen2, qwen3,"));
}

TEST(Model, MissingKey) {
  ChangedModel model;
  model.metadata.erase("deepseek2.attention.kv_lora_rank");
  EXPECT_THAT(model.error(), testing::HasSubstr("deepseek2.attention.kv_lora_rank"));
}

TEST(Model, NumbersOutOfRange) {
  const std::pair<const char*, uint32_t> cases[] = {
      {"deepseek2.block_count", 0},        {"deepseek2.block_count", 1u << 30},
      {"deepseek2.expert_used_count", 9},  {"deepseek2.rope.dimension_count", 7},
      {"deepseek2.expert_gating_func", 5}, {"deepseek2.rope.dimension_count", 24},
  };
  for (const auto& [key, value] : cases) {
    ChangedModel model;
    model.metadata.set_integer(key, value);
    EXPECT_THAT(model.error(), testing::HasSubstr(key)) << value;
  }
}

TEST(Model, MissingTensor) {
  ChangedModel model;
  std::erase_if(model.tensors, [](const auto& tensor) { return tensor.name == "blk.1.ffn_up_exps.weight"; });
  EXPECT_THAT(model.error(), testing::HasSubstr("tensor blk.1.ffn_up_exps.weight is missing"));
}

// The lite models of 26 or 27 blocks have no q LoRA, whatever its key says; others have none when the key is absent.
TEST(Model, QueriesWithoutLora) {
  ChangedModel lite;
  lite.metadata.set_integer("deepseek2.block_count", 27);
  EXPECT_THAT(lite.error(), testing::HasSubstr("tensor blk.0.attn_q.weight is missing"));
  ChangedModel absent;
  absent.metadata.erase("deepseek2.attention.q_lora_rank");
  EXPECT_THAT(absent.error(), testing::HasSubstr("tensor blk.0.attn_q.weight is missing"));
  absent.tensors.push_back(absent.tensor("blk.0.attn_q_b.weight"));
  absent.tensors.back().name = "blk.0.attn_q.weight";
  absent.tensors.back().ne[0] = absent.tensor("blk.0.attn_q_a.weight").ne[0];
  EXPECT_THAT(absent.error(), testing::HasSubstr("tensor blk.1.attn_q.weight is missing"));
}

TEST(Model, WrongShape) {
  ChangedModel model;
  model.tensor("blk.0.attn_k_b.weight").ne[1] += 1;
  EXPECT_THAT(model.error(),
              testing::HasSubstr("tensor blk.0.attn_k_b.weight has shape [16, 33, 4], expected [16, 32, 4]"));
}

TEST(Model, TokenBeyondVocabulary) {
  const gguf::Reader reader(test::golden("models/llama/model.gguf"));
  const auto backend = compute::make_backend("ref");
  const Model model(reader, *backend);
  schedule::Session session(model, 8);
  EXPECT_THROW(session.forward(std::vector<int32_t>{3, 272}), Error);
  EXPECT_THROW(session.forward(std::vector<int32_t>{-1}), Error);
}

// Sequences of one batch know nothing of each other, whatever their lengths and positions.
TEST(Model, SequencesShareABatch) {
  const std::vector<int32_t> a{5, 6, 7, 8, 9, 10}, b{20, 21, 22}, more{30, 31};
  for (const char* name : {"llama", "deepseek2", "deepseek2_yarn"}) {
    const gguf::Reader reader(test::golden(std::string("models/") + name + "/model.gguf"));
    const auto backend = compute::make_backend("ref");
    const Model model(reader, *backend);
    const auto values = [](Matrix x, int64_t first, int64_t n) {
      return std::vector<float>(x.row(first), x.row(first) + n * x.stride);
    };
    schedule::Session alone(model, 8);
    const auto alone_a = values(alone.forward(a), 0, 6);
    alone.reset();
    alone.forward(b);
    const auto alone_more = values(alone.forward(more), 0, 2);

    schedule::Session together(model, 8, 3);
    together.forward_batch(std::vector<schedule::SequenceTokens>{{2, b}});
    const Matrix rows = together.forward_batch(std::vector<schedule::SequenceTokens>{{0, a}, {2, more}});
    ASSERT_EQ(rows.rows, 8);
    EXPECT_EQ(values(rows, 0, 6), alone_a) << name;
    EXPECT_EQ(values(rows, 6, 2), alone_more) << name;
    EXPECT_EQ(together.position(0), 6);
    EXPECT_EQ(together.position(1), 0);
    EXPECT_EQ(together.position(2), 5);
    EXPECT_THROW(together.forward_batch(std::vector<schedule::SequenceTokens>{{1, a}, {2, a}}), Error);
    EXPECT_EQ(together.position(1), 0) << "a refused batch leaves every sequence as it was";
  }
}

TEST(Model, ContextFull) {
  const gguf::Reader reader(test::golden("models/llama/model.gguf"));
  const auto backend = compute::make_backend("cpu");
  const Model model(reader, *backend);
  schedule::Session session(model, 4);
  session.forward(std::vector<int32_t>{1, 2, 3});
  EXPECT_THROW(session.forward(std::vector<int32_t>{4, 5}), Error);
  session.reset();
  EXPECT_NO_THROW(session.forward(std::vector<int32_t>{1, 2, 3, 4}));
}

// GLM-4.7-Flash's first files have no gating key; 47 blocks and its vocabulary must mean sigmoid. Three blocks and
// another vocabulary mean softmax, as the deepseek2_yarn golden shows.
TEST(Model, GatingFallsBackByArchitecture) {
  const gguf::Reader reader(test::golden("models/deepseek2_yarn/model.gguf"));
  const auto backend = compute::make_backend("cpu");
  EXPECT_FALSE(reader.metadata().contains("deepseek2.expert_gating_func"));
  EXPECT_EQ(Model(reader, *backend).config().layers.back().ffn.gating, compute::Gating::kSoftmax);
}

}  // namespace
}  // namespace steelyard::model
