// Rows that are computed alone: bit for bit what a sequence gets that goes on by itself, however many there are, in
// models of every architecture, and with every kind of kernel for a single row. And texts taken back and shared.
#include <gmock/gmock.h>

#include <memory>
#include <vector>

#include "golden_models.h"
#include "opened_model.h"
#include "schedule/session.h"
#include "support.h"

namespace steelyard::schedule {
namespace {

using Ids = std::vector<int32_t>;

constexpr int64_t kContext = 32;
constexpr size_t kSteps = 3;

Ids text(int which, size_t n) {
  Ids ids;
  for (size_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>((31 * which + 7 * static_cast<int>(i + 1)) % 250));
  return ids;
}

std::vector<float> row_values(compute::Matrix logits, int64_t row) {
  return {logits.row(row), logits.row(row) + logits.cols};
}

// The logits after a prompt and after each of kSteps further tokens.
std::vector<std::vector<float>> by_itself(const model::Model& model, const Ids& prompt, const Ids& rest) {
  Session session(model, kContext);
  std::vector<std::vector<float>> all;
  compute::Matrix x = session.forward(prompt);
  all.push_back(row_values(session.logits(x.slice(x.rows - 1, 1)), 0));
  for (size_t i = 0; i < kSteps; ++i) {
    x = session.forward(std::span(rest).subspan(i, 1));
    all.push_back(row_values(session.logits(x), 0));
  }
  return all;
}

void expect_same(const model::Model& model, size_t n_texts) {
  Session session(model, kContext, static_cast<int64_t>(n_texts));
  std::vector<Ids> prompts, rests;
  std::vector<SequenceTokens> batch;
  for (size_t i = 0; i < n_texts; ++i) {
    prompts.push_back(text(static_cast<int>(i), 2 + i % 5));
    rests.push_back(text(static_cast<int>(i) + 100, kSteps));
  }
  std::vector<std::vector<std::vector<float>>> found(n_texts);
  for (size_t i = 0; i < n_texts; ++i) batch.push_back({static_cast<int64_t>(i), prompts[i]});
  compute::Matrix x = session.forward_batch(batch);
  int64_t end = 0;
  for (size_t i = 0; i < n_texts; ++i) {
    end += std::ssize(prompts[i]);
    found[i].push_back(row_values(session.logits_alone(x.slice(end - 1, 1)), 0));
  }
  for (size_t step = 0; step < kSteps; ++step) {
    for (size_t i = 0; i < n_texts; ++i) batch[i].ids = std::span(rests[i]).subspan(step, 1);
    const compute::Matrix logits = session.logits_alone(session.forward_alone(batch));
    for (size_t i = 0; i < n_texts; ++i) found[i].push_back(row_values(logits, static_cast<int64_t>(i)));
  }
  for (size_t i = 0; i < n_texts; ++i) ASSERT_EQ(found[i], by_itself(model, prompts[i], rests[i])) << "text " << i;
}

TEST(RowsAlone, AreThoseOfATextByItself) {
  for (const std::string& name : test::golden_models()) {
    SCOPED_TRACE(name);
    expect_same(test::OpenedModel(test::golden("models/" + name + "/model.gguf"), compute::Precision::kFast).model, 3);
  }
}

// Fifteen tokens are tiles of several tokens, and single ones.
TEST(RowsAlone, InQuantizedModels) {
  for (const char* file : {"qwen3moe_k256/model_mixed", "qwen3moe_k256/model_Q4_K", "deepseek2_k256/model_Q8_0"}) {
    for (const compute::Precision precision : {compute::Precision::kExact, compute::Precision::kFast}) {
      SCOPED_TRACE(file);
      expect_same(test::OpenedModel(test::golden("imatrix/") + file + ".gguf", precision).model, 15);
    }
  }
}

TEST(Session, TextsAreTakenBackAndShared) {
  int n_whole = 0;
  for (const std::string& name : test::golden_models()) {
    SCOPED_TRACE(name);
    const test::OpenedModel opened(test::golden("models/" + name + "/model.gguf"), compute::Precision::kFast);
    Session session(opened.model, kContext, 2);
    if (!session.has_whole_past()) continue;
    ++n_whole;
    const Ids begin = text(1, 6), first = text(2, 4), second = text(3, 5);
    const auto last_logits = [&](Session& of, int64_t sequence, const Ids& ids) {
      const SequenceTokens tokens{sequence, ids};
      const compute::Matrix x = of.forward_batch(std::span(&tokens, 1));
      return row_values(of.logits(x.slice(x.rows - 1, 1)), 0);
    };
    Session anew(opened.model, kContext);
    last_logits(anew, 0, begin);
    const std::vector<float> expected = last_logits(anew, 0, second);

    last_logits(session, 0, begin);
    last_logits(session, 0, first);
    session.copy_past(0, 1, 6);
    EXPECT_EQ(session.position(1), 6);
    EXPECT_EQ(last_logits(session, 1, second), expected);
    session.rewind(0, 6);
    EXPECT_EQ(last_logits(session, 0, second), expected);
  }
  EXPECT_GE(n_whole, 20);
}

}  // namespace
}  // namespace steelyard::schedule
