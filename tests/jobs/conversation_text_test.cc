// Conversations on their way into chunks: for calibration packed and mixed with text, for evaluation whole.
#include "jobs/conversation_text.h"

#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>

#include "base/atomic_file.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "jobs/calibration_text.h"
#include "jobs/perplexity.h"
#include "jobs/tool_turns.h"
#include "model/architecture.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

class Conversations : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/usr/lib/python3/dist-packages/jinja2")) {
      GTEST_SKIP() << "python3-jinja2 is not installed";
    }
    write_file(files_.chat_template,
               "{% for m in messages %}{% if m.role == 'robot' %}{{ raise_exception('no robots') }}{% endif %}"
               "[{{ m.role }}]{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}");
    std::string lines;
    for (int i = 0; i < 12; ++i) {
      lines += R"({"messages": [{"role": "user", "content": "What comes after )" + std::to_string(i) +
               R"(?"}, {"role": "assistant", "content": "The number )" + std::to_string(i + 1) + "\"}]}\n";
    }
    lines += R"({"messages": [{"role": "robot", "content": "beep"}]})";
    write_file(files_.conversations, lines);
  }

  const test::TempFolder folder_;
  const std::string model_ = test::golden("models/llama/model.gguf");
  ConversationFiles files_{.conversations = folder_ / "c.jsonl", .chat_template = folder_ / "t.jinja"};
  const gguf::Reader reader_{model_, gguf::ReadMode::kHeader};
  const tokenizer::Tokenizer tokenizer_{reader_.metadata()};
};

TEST_F(Conversations, ArePackedAndGoOnInTheNextChunk) {
  ConversationText text(files_);
  text.read(reader_.metadata(), tokenizer_);
  EXPECT_EQ(text.figures().n_conversations, 13);
  EXPECT_EQ(text.figures().n_refused, 1);
  EXPECT_THAT(text.figures().refusal, HasSubstr("conversation 13: "));
  const tokenizer::Chunks chunks = text.packed(32, 0, 1);
  std::vector<tokenizer::TokenId> all, packed;
  for (const auto& entry : text.entries()) {
    all.insert(all.end(), entry.transcript.ids.begin(), entry.transcript.ids.end());
  }
  // Without the BOS of those that go on, it is all of them but the rest.
  size_t next = 0, begun = 0;
  for (int64_t c = 0; c < chunks.count(); ++c) {
    const auto ids = chunks.input(c);
    EXPECT_EQ(chunks.starts(c).front(), 0);
    for (int64_t i = 0; i < 32; ++i) {
      const bool starts = std::ranges::find(chunks.starts(c), i) != chunks.starts(c).end();
      if (starts && ids[static_cast<size_t>(i)] == 1 && all[next] != 1) continue;
      begun += starts;
      ASSERT_EQ(ids[static_cast<size_t>(i)], all[next++]) << c << " " << i;
    }
  }
  EXPECT_LT(all.size() - next, 32u);
  EXPECT_GT(begun, 1u);
  EXPECT_EQ(text.packed(32, 2, 1).count(), 2);
  EXPECT_THAT(test::error_of([&] { text.packed(1 << 20, 0, 1); }), HasSubstr("too few for a chunk"));
}

TEST_F(Conversations, AreAShareOfACalibrationText) {
  const auto read = [&](int64_t n_chunks, double share, bool with_text, bool whole = false) {
    CalibrationText text({.source = {.file = with_text ? test::golden("imatrix/text.txt") : ""},
                          .n_ctx = 32,
                          .n_chunks = n_chunks,
                          .whole_file = whole,
                          .conversations = files_,
                          .conversations_share = share,
                          .model = {.model = model_}});
    text.read(tokenizer_, model::read_config(reader_), {});
    return text;
  };
  const CalibrationText half = read(8, 0.5, true);
  EXPECT_EQ(half.chunks().count(), 8);
  EXPECT_EQ(half.conversations()->n_chunks, 4);
  EXPECT_EQ(half.recorded(), "text.txt+c.jsonl");
  // What is recorded gives the same again.
  const CalibrationText all = read(0, 0.25, true, /*whole=*/true);
  const CalibrationText again = read(all.n_chunks(), 0.25, true);
  EXPECT_TRUE(std::ranges::equal(all.chunks().tokens(), again.chunks().tokens()));
  EXPECT_EQ(all.sha256(), again.sha256());
  EXPECT_NE(all.sha256(), read(0, 0.25, false).sha256());
  const CalibrationText alone = read(3, 0.25, false);
  EXPECT_EQ(alone.conversations()->n_chunks, 3);
  EXPECT_EQ(alone.chunks().count(), 3);
  EXPECT_THAT(test::error_of([&] { read(8, 2, true); }), HasSubstr("--conversations-share"));
}

TEST_F(Conversations, WithoutATemplateOrWithOneThatRefusesAll) {
  files_.chat_template.clear();
  EXPECT_THAT(test::error_of([&] { ConversationText(files_).read(reader_.metadata(), tokenizer_); }),
              HasSubstr("no chat template"));
  files_.chat_template = folder_ / "no.jinja";
  write_file(files_.chat_template, "{{ raise_exception('never') }}");
  EXPECT_THAT(test::error_of([&] { ConversationText(files_).read(reader_.metadata(), tokenizer_); }),
              HasSubstr("refuses every conversation; conversation 1: "));
}

TEST_F(Conversations, AnswersAreScoredByRoleAndPosition) {
  PerplexityOptions options;
  options.model.model = model_;
  options.conversations = files_;
  options.kl_divergence_base = folder_ / "base.kld";
  const PerplexityResult base = perplexity(options);
  ASSERT_TRUE(base.conversations);
  EXPECT_EQ(base.n_ctx, 64);
  const auto& roles = base.conversations->roles;
  ASSERT_EQ(roles.size(), 3u);
  EXPECT_EQ(roles[0].role, "template");
  EXPECT_EQ(roles[1].role, "user");
  EXPECT_EQ(roles[2].role, "assistant");
  EXPECT_EQ(roles[2].n_tokens, base.n_scored);
  EXPECT_DOUBLE_EQ(roles[2].perplexity, base.perplexity);
  int64_t n = 0;
  for (const TokenFigures& stretch : base.conversations->positions) n += stretch.n_tokens;
  EXPECT_EQ(n, base.n_scored);
  EXPECT_FALSE(base.divergence);

  options.kl_divergence = true;
  const PerplexityResult same = perplexity(options);
  EXPECT_DOUBLE_EQ(same.perplexity, base.perplexity);
  EXPECT_NEAR(same.divergence->mean_kld.mean, 0, 1e-6);
  EXPECT_DOUBLE_EQ(*same.conversations->roles[2].same_top, 1);

  const auto refusal = [&] { return test::error_of([&] { perplexity(options); }); };
  options.conversations = {};
  EXPECT_THAT(refusal(), HasSubstr("was made of conversations"));
  write_file(folder_ / "other.jsonl",
             test::read_text(files_.conversations) + "\n" + R"({"messages": [{"role": "user", "content": "a"}]})");
  options.conversations = {.conversations = folder_ / "other.jsonl", .chat_template = files_.chat_template};
  EXPECT_THAT(refusal(), HasSubstr("was made with another text"));
  options.text.file = files_.conversations;
  EXPECT_THAT(refusal(), HasSubstr("--file: no effect with --conversations"));
}

// Each position's score says which it is, so that nothing is counted twice or lost.
TEST_F(Conversations, EveryAnswerIsLookedAtOnce) {
  ConversationText text(files_);
  text.read(reader_.metadata(), tokenizer_);
  const ScoredConversations scored(text, 0, 128);
  const tokenizer::Chunks& chunks = scored.chunks();
  std::string answers;
  for (int64_t c = 0; c < chunks.count(); ++c) {
    for (int64_t i = 0; i < chunks.n_scored(); ++i) {
      if (scored.role(static_cast<size_t>(c * chunks.n_scored() + i)) != chat::Role::kAssistant) continue;
      const tokenizer::TokenId id = chunks.targets(c)[static_cast<size_t>(i)];
      answers += tokenizer_.decode(std::span(&id, 1), true);
    }
  }
  for (int i = 0; i < 12; ++i) EXPECT_THAT(answers, HasSubstr("The number " + std::to_string(i + 1) + "\n"));
}

TEST(ToolTurns, CallsAreComparedWithTheBases) {
  const test::TempFolder folder;
  write_file(folder / "c.jsonl", R"({"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {}}, "required": ["x"]}}}]})");
  std::string one_line = test::read_text(folder / "c.jsonl");
  std::ranges::replace(one_line, '\n', ' ');
  write_file(folder / "c.jsonl", one_line);
  const ConversationText text({.conversations = folder / "c.jsonl", .chat_template = ""});
  // An answer is the number of one of these.
  const std::vector<Calls> kAnswers = {{},
                                       {{"f", {{"x", 1}, {"y", 2}}}},
                                       {{"f", {{"y", 2.0}, {"x", 1}}}},
                                       {{"f", {{"x", 2}}}},
                                       {{"f", {{"y", 2}}}},
                                       {{"g", {{"x", 1}}}},
                                       {{"f", {{"x", 1}}}, {"f", {{"x", 1}}}}};
  const CallsOf calls = [&](const std::vector<tokenizer::TokenId>& answer, const ToolTurn&, const chat::Conversation&) {
    return kAnswers[static_cast<size_t>(answer[0])];
  };
  const auto compared = [&](const std::vector<std::vector<tokenizer::TokenId>>& base,
                            const std::vector<std::vector<tokenizer::TokenId>>& answers) {
    const std::vector<ToolTurn> turns(base.size(), ToolTurn{0, {}});
    return to_json(compare_calls(text, turns, answers, base, calls)).dump();
  };
  EXPECT_EQ(compared({{1}, {1}, {1}, {1}, {1}}, {{1}, {2}, {3}, {0}, {6}}),
            R"({"n_turns":5,"n_valid":4,"n_base_valid":5,"n_same_names":3,"n_same":2})");
  // Without what is required, of no known tool, none.
  EXPECT_EQ(compared({{4}, {5}, {0}}, {{4}, {5}, {1}}),
            R"({"n_turns":3,"n_valid":1,"n_base_valid":0,"n_same_names":0,"n_same":0})");
}

TEST(ToolTurns, CallsAreReadAsTheTemplateMarksThem) {
  const gguf::Reader reader(test::golden("models/llama/model.gguf"), gguf::ReadMode::kHeader);
  const tokenizer::Tokenizer tokenizer(reader.metadata());
  const auto chat = [&](const std::string& name) {
    return chat::Template(name.empty()
                              ? chat::TemplateSource{.where = "t.jinja", .text = "{{ messages }}", .tool_use = ""}
                              : chat::TemplateSource::load(test::golden("chat/" + name)),
                          nullptr);
  };
  EXPECT_FALSE(calls_of(chat(""), tokenizer));
  const auto calls = calls_of(chat("Qwen-Qwen3-0.6B.jinja"), tokenizer);
  ASSERT_TRUE(calls);
  const chat::Conversation with_tools{
      .messages = {}, .tools = {{{"type", "function"}, {"function", {{"name", "f"}}}}}, .kwargs = {}};
  const auto read = [&](const std::string& text) {
    return (*calls)(tokenizer.encode(text, false, false), ToolTurn{0, {}}, with_tools);
  };
  const Calls expected = {{"f", {{"x", 1}}}};
  EXPECT_EQ(read("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>"), expected);
  EXPECT_TRUE(read("No.").empty());
}

}  // namespace
}  // namespace steelyard::jobs
