// Which tokens precede a text, in models of several kinds, and how often each kind of beginning is drawn.
#include "generate/beginnings.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>
#include <string>
#include <variant>

#include "error_of.h"
#include "tokenizer/small_model.h"

namespace steelyard::generate {

static bool operator==(const Beginning& a, const Beginning& b) {
  return a.unseen == b.unseen && a.ids == b.ids && a.answer == b.answer;
}
static void PrintTo(const Beginning& beginning, std::ostream* out) {
  *out << testing::PrintToString(beginning.unseen) << ", " << testing::PrintToString(beginning.ids) << ", "
       << testing::PrintToString(beginning.answer);
}

namespace {

using Ids = std::vector<tokenizer::TokenId>;
using tokenizer::TokenType;

// Its 256 bytes are tokens 0-255, and the marked tokens follow; from 256 on the ones named here.
struct Opened {
  explicit Opened(const std::vector<std::string>& control = {}, const std::string& chat_template = "") {
    for (const std::string& text : control) model.add(text, TokenType::kControl);
    if (!chat_template.empty()) model.rest.set_string("tokenizer.chat_template", chat_template);
  }
  void set(const std::string& key, uint32_t id) { model.rest.set_integer("tokenizer.ggml." + key, id); }
  void add_bos(uint32_t id) {
    set("bos_token_id", id);
    model.rest.set_boolean("tokenizer.ggml.add_bos_token", true);
  }
  Beginnings with(BeginningShares shares, const Ids& excerpts = {}, int64_t excerpt_tokens = 16) const {
    const gguf::Metadata metadata = model.metadata();
    return {metadata, tokenizer::Tokenizer(metadata), shares, excerpts, excerpt_tokens};
  }
  /// The only beginning that there is.
  Beginning only(BeginningShares shares = {}) const {
    Random random(1);
    return with(shares).draw(random);
  }
  tokenizer::SmallModel model;
};

TEST(Beginnings, BosIsPartOfTheText) {
  Opened model({"<s>", "<|endoftext|>"});
  model.add_bos(256);
  EXPECT_EQ(model.only(), (Beginning{{}, {256}, {}}));
}

// A token that separates documents is read first and not written; of several, the one that models are trained with.
TEST(Beginnings, WithoutBosASeparatorPrecedesTheText) {
  const auto unseen = [](const Opened& model) {
    const Beginning found = model.only();
    EXPECT_TRUE(found.ids.empty() && found.answer.empty());
    EXPECT_EQ(found.unseen.size(), 1u);
    return found.unseen[0];
  };
  Opened plain({"<|im_end|>", "<|endoftext|>"});
  EXPECT_EQ(unseen(plain), 257);
  plain.set("eos_token_id", 256);  // what ends a turn
  plain.set("bos_token_id", 256);  // known, but not wanted
  EXPECT_EQ(unseen(plain), 257);
  EXPECT_EQ(unseen(Opened({"<s>", "<|end_of_text|>"})), 257);
  Opened deepseek({"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<|EOT|>"});
  deepseek.set("eos_token_id", 258);
  EXPECT_EQ(unseen(deepseek), 257);

  Opened unnamed({"<a>", "<b>"});
  unnamed.set("bos_token_id", 256);
  EXPECT_EQ(unseen(unnamed), 256);
  unnamed.set("eos_token_id", 257);
  EXPECT_EQ(unseen(unnamed), 257);
}

TEST(Beginnings, WithoutAnyTokenThereIsNone) {
  EXPECT_EQ(test::error_of([] { Opened({"<|im_start|>"}, "<|im_start|>").only(); }),
            "the model has no token that a text could begin with: neither BOS nor EOS");
}

// Ids of marked tokens, and of the characters between them.
Ids spelled(const std::vector<std::variant<int, std::string>>& parts) {
  Ids ids;
  for (const auto& part : parts) {
    if (const int* id = std::get_if<int>(&part)) ids.push_back(*id);
    if (const auto* text = std::get_if<std::string>(&part)) {
      for (const char c : *text) ids.push_back(static_cast<unsigned char>(c));
    }
  }
  return ids;
}

struct Family {
  std::vector<std::string> control;  // from 256 on; the first one is BOS or separates documents
  bool bos;
  std::string chat_template;
  Ids ids, answer;
};

// They differ in how they name the roles, and in what stands between.
TEST(Beginnings, ChatsOfSeveralFamilies) {
  for (const Family& family : std::initializer_list<Family>{
           {{"<|endoftext|>", "<|im_start|>", "<|im_end|>"},
            false,
            "{{ '<|im_start|>' + message['role'] }}",
            spelled({257, "user\n"}),
            spelled({"\n", 257, "assistant\n"})},
           {{"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
            true,
            "{{ '<|start_header_id|>' + role + '<|end_header_id|>' }}",
            spelled({256, 257, "user", 258, "\n\n"}),
            spelled({257, "assistant", 258, "\n\n"})},
           {{"<bos>", "<start_of_turn>", "<end_of_turn>"},
            true,
            "{{ bos_token }}{{ '<start_of_turn>' + role }}",
            spelled({256, 257, "user\n"}),
            spelled({"\n", 257, "model\n"})},
           // GLM has markup before the first turn, and <|user|> as Phi has, but no line ends around it.
           {{"<|endoftext|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>"},
            false,
            "[gMASK]<sop>{% if m.role == 'user' %}<|user|>",
            spelled({257, 258, 259, "\n"}),
            spelled({260, "\n"})},
           {{"<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"},
            false,
            "{{ '<|user|>' }}",
            spelled({257, "\n"}),
            spelled({"\n", 258, "\n"})},
           {{"<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"},
            true,
            "{{ '<｜User｜>' }}",
            {256, 257},
            {258}},
           {{"<s>", "[INST]", "[/INST]"}, true, "{{ '[INST]' + content + '[/INST]' }}", {256, 257}, {258}},
           {{"<|endoftext|>", "<|im_user|>", "<|im_middle|>", "<|im_assistant|>"},
            false,
            "<|im_user|>user<|im_middle|>",
            spelled({257, "user", 258}),
            spelled({259, "assistant", 258})},
           {{"<|endoftext|>", "<|start|>", "<|message|>", "<|channel|>"},
            false,
            "<|start|>system<|message|>",
            spelled({257, "user", 258}),
            spelled({257, "assistant", 259, "final", 258})}}) {
    Opened model(family.control, family.chat_template);
    if (family.bos) model.add_bos(256);
    EXPECT_TRUE(model.with({}).has_chats()) << family.chat_template;
    EXPECT_EQ(model.only({.documents = 0, .chats = 1}), (Beginning{{}, family.ids, family.answer}))
        << family.chat_template;
  }
}

// Without a template or with one that is not known there are no chats, and documents take their share.
TEST(Beginnings, UnknownTemplates) {
  for (const std::string chat_template : {"", "{{ '### Question:' + content }}"}) {
    Opened model({"<|endoftext|>", "<|im_start|>"}, chat_template);
    EXPECT_FALSE(model.with({}).has_chats());
    EXPECT_EQ(model.only({0, 1, 0}), (Beginning{{256}, {}, {}}));
  }
}

TEST(Beginnings, ExcerptsAreConsecutiveTokens) {
  Ids text(100);
  std::iota(text.begin(), text.end(), 0);
  for (const bool bos : {false, true}) {
    Opened model({"<|endoftext|>", "<s>"});
    if (bos) model.add_bos(257);
    const Beginnings beginnings = model.with({0, 0, 1}, text, 10);
    Random random(2);
    std::set<tokenizer::TokenId> firsts;
    for (int i = 0; i < 2000; ++i) {
      const Beginning drawn = beginnings.draw(random);
      EXPECT_EQ(drawn.unseen, bos ? Ids{} : Ids{256});
      ASSERT_EQ(drawn.ids.size(), bos ? 11u : 10u);
      const Ids excerpt(drawn.ids.end() - 10, drawn.ids.end());
      EXPECT_EQ(drawn.ids[0] == 257, bos);
      for (int k = 1; k < 10; ++k) ASSERT_EQ(excerpt[static_cast<size_t>(k)], excerpt[0] + k);
      firsts.insert(excerpt[0]);
      EXPECT_TRUE(drawn.answer.empty());
    }
    // From everywhere in the text, the first and the last token too.
    EXPECT_EQ(firsts.size(), 91u);
    EXPECT_EQ(*firsts.begin(), 0);
    EXPECT_EQ(*firsts.rbegin(), 90);
  }
}

TEST(Beginnings, ShortTexts) {
  const Opened model({"<|endoftext|>"});
  Random random(3);
  const Ids text = {1, 2, 3, 4};
  EXPECT_EQ(model.with({0, 0, 1}, text, 4).draw(random), (Beginning{{256}, text, {}}));
  EXPECT_EQ(model.with({0, 0, 1}, text, 5).draw(random), (Beginning{{256}, {}, {}}));
  EXPECT_EQ(model.with({0, 0, 1}).draw(random), (Beginning{{256}, {}, {}}));
}

TEST(Beginnings, SharesAreMet) {
  const Ids text(50, 'x');
  enum Kind { kDocument, kChat, kExcerpt };
  const auto counts = [&](const Opened& model, BeginningShares shares, const Ids& excerpts) {
    const Beginnings beginnings = model.with(shares, excerpts);
    Random random(4);
    std::map<Kind, int> drawn_of;
    for (int i = 0; i < 8000; ++i) {
      const Beginning drawn = beginnings.draw(random);
      ++drawn_of[!drawn.answer.empty() ? kChat : drawn.ids.empty() ? kDocument : kExcerpt];
    }
    return drawn_of;
  };
  const Opened chatty({"<|endoftext|>", "<|im_start|>"}, "<|im_start|>"), plain({"<|endoftext|>"});
  auto found = counts(chatty, {.documents = 2, .chats = 4, .excerpts = 2}, text);  // in proportion: not of a sum of 1
  EXPECT_NEAR(found[kDocument], 2000, 160);
  EXPECT_NEAR(found[kChat], 4000, 180);
  EXPECT_NEAR(found[kExcerpt], 2000, 160);
  found = counts(chatty, {.documents = 0, .chats = 0.25, .excerpts = 0.75}, text);
  EXPECT_EQ(found[kDocument], 0);
  EXPECT_NEAR(found[kChat], 2000, 160);
  // What a kind cannot have goes to documents and to no other.
  found = counts(plain, {.documents = 0.25, .chats = 0.5, .excerpts = 0.25}, text);
  EXPECT_EQ(found[kChat], 0);
  EXPECT_NEAR(found[kExcerpt], 2000, 160);
  found = counts(chatty, {.documents = 0.25, .chats = 0.5, .excerpts = 0.25}, {});
  EXPECT_EQ(found[kExcerpt], 0);
  EXPECT_NEAR(found[kChat], 4000, 180);
}

TEST(Beginnings, SameRandomSameDraws) {
  const Opened model({"<|endoftext|>", "<|im_start|>"}, "<|im_start|>");
  Ids text(100);
  std::iota(text.begin(), text.end(), 0);
  const auto draws = [&](Random random) {
    const Beginnings beginnings = model.with({1, 1, 1}, text);
    std::vector<Beginning> all;
    for (int i = 0; i < 50; ++i) all.push_back(beginnings.draw(random));
    return all;
  };
  EXPECT_TRUE(draws(Random(1)) == draws(Random(1)));
  EXPECT_FALSE(draws(Random(1)) == draws(Random(2)));
}

}  // namespace
}  // namespace steelyard::generate
