// A text's logits, whatever texts are decoded beside it, in models of every architecture.
#include "generate/batch_decoder.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <memory>
#include <numeric>
#include <string>

#include "error_of.h"
#include "model_copy.h"
#include "opened_model.h"
#include "support.h"

namespace steelyard::generate {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using Ids = std::vector<tokenizer::TokenId>;

// Tokens in the pieces in which they are appended, one piece a step.
using Text = std::vector<Ids>;

// A text that begins with n tokens and goes on token by token; the ids say which text it is.
Text text(int which, size_t n_prompt, size_t n_steps) {
  Text text(n_steps);
  int id = 31 * which;
  for (size_t step = 0; step < n_steps; ++step) {
    for (size_t i = 0; i < (step == 0 ? n_prompt : 1); ++i) text[step].push_back((id += 7 + which) % 260);
  }
  return text;
}

// Where and when a text is decoded.
struct Place {
  const Text& text;
  int64_t slot;
  size_t first_step;
};

// The logits of each text, [its steps, n_vocab].
std::vector<std::vector<float>> decode(const model::Model& model, int64_t n_slots, const std::vector<Place>& places) {
  BatchDecoder decoder(model, 32, n_slots);
  std::vector<std::vector<float>> all(places.size());
  size_t n_steps = 0;
  for (const Place& place : places) n_steps = std::max(n_steps, place.first_step + place.text.size());
  for (size_t step = 0; step < n_steps; ++step) {
    std::vector<size_t> of_slot(static_cast<size_t>(decoder.n_slots()), places.size());
    for (size_t p = 0; p < places.size(); ++p) {
      const auto& [text, slot, first_step] = places[p];
      if (step == first_step + text.size()) decoder.clear(slot);
    }
    for (size_t p = 0; p < places.size(); ++p) {
      const auto& [text, slot, first_step] = places[p];
      if (step < first_step || step >= first_step + text.size()) continue;
      decoder.append(slot, text[step - first_step]);
      of_slot[static_cast<size_t>(slot)] = p;
    }
    decoder.step([&](int64_t slot, std::span<float> logits) {
      std::vector<float>& own = all.at(of_slot[static_cast<size_t>(slot)]);
      own.insert(own.end(), logits.begin(), logits.end());
    });
  }
  return all;
}

// Texts of different lengths: a document that begins with one token, a prompt, a longer one that ends soon, and one of
// two tokens.
const Text kTexts[] = {text(0, 1, 9), text(1, 7, 8), text(2, 18, 3), text(3, 2, 5)};

void expect_no_neighbours_seen(const model::Model& model) {
  std::vector<std::vector<float>> alone;
  for (const Text& text : kTexts) alone.push_back(decode(model, 1, {{text, 0, 0}})[0]);
  for (size_t i = 0; i < alone.size(); ++i) {
    ASSERT_EQ(alone[i].size(), kTexts[i].size() * static_cast<size_t>(model.config().n_vocab));
    // In another slot, and with more of them.
    EXPECT_EQ(decode(model, 2, {{kTexts[i], 1, 0}})[0], alone[i]) << i;
    EXPECT_EQ(decode(model, 5, {{kTexts[i], 3, 0}})[0], alone[i]) << i;
  }
  // All at once, in any slots.
  const auto [a, b, c, d] = kTexts;
  EXPECT_EQ(decode(model, 5, {{a, 0, 0}, {b, 1, 0}, {c, 2, 0}, {d, 3, 0}}), alone);
  EXPECT_EQ(decode(model, 5, {{a, 4, 0}, {b, 2, 0}, {c, 1, 0}, {d, 0, 0}}), alone);
  // They come and go: c ends, and d takes its slot a step later; a begins in the middle of b and ends after it.
  EXPECT_EQ(decode(model, 5, {{a, 4, 2}, {b, 0, 0}, {c, 2, 0}, {d, 2, 4}}), alone);
  // Two at a time, so that each of them is alone for some steps.
  EXPECT_EQ(decode(model, 2, {{a, 0, 0}, {b, 1, 4}, {c, 0, 9}, {d, 1, 12}}), alone);
}

std::vector<std::string> golden_models() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(test::golden("models"))) {
    if (std::filesystem::exists(entry.path() / "model.gguf")) names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

TEST(BatchDecoder, TextsDoNotSeeTheirNeighbours) {
  const std::vector<std::string> names = golden_models();
  EXPECT_GE(names.size(), 16u);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    expect_no_neighbours_seen(test::OpenedModel(test::golden("models/" + name + "/model.gguf")).model);
  }
}

// The same of types and precisions that have other kernels for a single row.
TEST(BatchDecoder, NorInQuantizedModels) {
  for (const char* file : {"qwen3moe_k256/model_mixed", "qwen3moe_k256/model_Q4_K", "deepseek2_k256/model_Q8_0"}) {
    for (const compute::Precision precision : {compute::Precision::kExact, compute::Precision::kFast}) {
      SCOPED_TRACE(file);
      expect_no_neighbours_seen(test::OpenedModel(test::golden("imatrix/") + file + ".gguf", precision).model);
    }
  }
}

TEST(BatchDecoder, AgreesWithASession) {
  for (const std::string& name : golden_models()) {
    SCOPED_TRACE(name);
    const test::OpenedModel opened(test::golden("models/" + name + "/model.gguf"));
    const auto [a, b, c, d] = kTexts;
    const auto found = decode(opened.model, 4, {{a, 0, 0}, {b, 1, 0}, {c, 2, 1}, {d, 3, 2}});
    for (size_t i = 0; i < found.size(); ++i) {
      Ids ids;
      for (const Ids& piece : kTexts[i]) ids.insert(ids.end(), piece.begin(), piece.end());
      schedule::Session session(opened.model, 32);
      const compute::Matrix logits = session.logits(session.forward(ids));
      int64_t row = -1;
      for (size_t step = 0; step < kTexts[i].size(); ++step) {
        row += std::ssize(kTexts[i][step]);
        for (int64_t v = 0; v < logits.cols; ++v) {
          ASSERT_NEAR(found[i][step * static_cast<size_t>(logits.cols) + static_cast<size_t>(v)], logits.row(row)[v],
                      5e-4)
              << "text " << i << ", step " << step;
        }
      }
    }
  }
}

// Of a large vocabulary only some logits are in memory at a time; a slot gets its own all the same.
TEST(BatchDecoder, MoreLogitsThanAreMadeAtATime) {
  test::ModelCopy copy(test::golden("models/llama_tied/model.gguf"));
  const int64_t n_vocab = int64_t{1} << 20;  // 16 slots are 64 MiB
  auto& table = *copy.find("token_embd.weight");
  ASSERT_EQ(table.info.ne[0], 64u);
  table.info.type = formats::Type::Q4_0;
  table.info.ne[1] = static_cast<uint64_t>(n_vocab);
  table.bytes.resize(static_cast<size_t>(n_vocab * 2 * 18));
  copy.metadata.set_strings("tokenizer.ggml.tokens", std::vector<std::string>(static_cast<size_t>(n_vocab)));
  uint32_t state = 1;
  for (size_t i = 0; i < table.bytes.size(); ++i) {
    state = state * 1664525 + 1013904223;
    table.bytes[i] = i % 18 == 0 ? std::byte{0} : i % 18 == 1 ? std::byte{0x30} : std::byte(state >> 24);
  }
  const test::TempFolder folder;
  copy.save(folder / "model.gguf");
  const test::OpenedModel opened(folder / "model.gguf");
  ASSERT_EQ(opened.model.config().n_vocab, n_vocab);
  // Some logits of every slot, and how many calls there were.
  const auto decode = [&](const std::vector<int64_t>& slots, int64_t n_slots) {
    BatchDecoder decoder(opened.model, 4, n_slots);
    for (const int64_t slot : slots) decoder.append(slot, Ids{static_cast<tokenizer::TokenId>(slot) + 1});
    std::vector<std::vector<float>> found(static_cast<size_t>(n_slots));
    decoder.step([&](int64_t slot, std::span<float> logits) {
      ASSERT_EQ(std::ssize(logits), n_vocab);
      std::vector<float>& own = found[static_cast<size_t>(slot)];
      EXPECT_TRUE(own.empty());
      for (size_t i = 0; i < logits.size(); i += 1001) own.push_back(logits[i]);
    });
    return found;
  };
  std::vector<int64_t> all(33);
  std::iota(all.begin(), all.end(), 0);
  const auto found = decode(all, 33);
  for (size_t slot = 1; slot < found.size(); ++slot) {
    EXPECT_FALSE(found[slot].empty());
    EXPECT_NE(found[slot], found[slot - 1]);
  }
  for (const int64_t slot : {0, 15, 16, 31, 32}) {
    EXPECT_EQ(decode({slot}, 33)[static_cast<size_t>(slot)], found[static_cast<size_t>(slot)]) << slot;
  }
}

// Tokens of several calls are one piece, and `use` may change the logits.
TEST(BatchDecoder, AppendsAddUp) {
  const test::OpenedModel opened(test::golden("models/llama/model.gguf"));
  const auto expected = decode(opened.model, 2, {{kTexts[1], 0, 0}})[0];
  BatchDecoder decoder(opened.model, 32, 2);
  const std::span<const tokenizer::TokenId> prompt = kTexts[1][0];
  decoder.append(0, prompt.first(3));
  decoder.append(0, prompt.subspan(3));
  std::vector<float> found;
  decoder.step([&](int64_t slot, std::span<float> logits) {
    EXPECT_EQ(slot, 0);
    found.assign(logits.begin(), logits.end());
    std::ranges::fill(logits, 0.0f);
  });
  EXPECT_EQ(found, std::vector<float>(expected.begin(), expected.begin() + std::ssize(found)));
  // What was appended and cleared leaves no trace.
  decoder.append(1, prompt);
  decoder.clear(1);
  decoder.append(0, kTexts[1][1]);
  decoder.step([&](int64_t slot, std::span<float> logits) {
    EXPECT_EQ(slot, 0);
    found.assign(logits.begin(), logits.end());
  });
  EXPECT_EQ(found, std::vector<float>(expected.begin() + std::ssize(found), expected.begin() + 2 * std::ssize(found)));
}

TEST(BatchDecoder, AFullSlot) {
  const test::OpenedModel opened(test::golden("models/llama/model.gguf"));
  const auto nothing = [](int64_t, std::span<float>) {};
  {
    BatchDecoder decoder(opened.model, 8, 3);
    decoder.append(0, Ids(3, 5));
    decoder.append(2, Ids(9, 5));
    EXPECT_EQ(test::error_of([&] { decoder.step(nothing); }), "context of 8 tokens is full");
  }
  BatchDecoder decoder(opened.model, 8, 3);
  EXPECT_EQ(decoder.n_slots(), 3);
  decoder.append(1, Ids(7, 5));
  decoder.step(nothing);
  decoder.append(1, Ids{6});
  EXPECT_NO_THROW(decoder.step(nothing));
  decoder.append(1, Ids{6});
  EXPECT_EQ(test::error_of([&] { decoder.step(nothing); }), "context of 8 tokens is full");
  decoder.clear(1);
  decoder.append(1, Ids(8, 5));
  EXPECT_NO_THROW(decoder.step(nothing));
}

TEST(BatchDecoder, LogitsThatAreNotFinite) {
  test::ModelCopy copy(test::golden("models/llama/model.gguf"));
  // Token 9 alone is broken, and so is the text that has it.
  copy.set_value("token_embd.weight", 9 * 64, std::numeric_limits<float>::infinity());
  const test::TempFolder folder;
  copy.save(folder / "model.gguf");
  const test::OpenedModel opened(folder / "model.gguf");
  BatchDecoder decoder(opened.model, 16, 3);
  decoder.append(0, Ids{1, 2, 3});
  decoder.append(1, Ids{4, 9, 5, 6});
  int n_used = 0;
  const std::string error = test::error_of([&] { decoder.step([&](int64_t, std::span<float>) { ++n_used; }); });
  EXPECT_THAT(error, StartsWith("the logits after token 4 are not finite: first in "));
  EXPECT_THAT(error, HasSubstr("embedding"));
  EXPECT_LE(n_used, 1);
}

// What `use` throws comes out of step.
TEST(BatchDecoder, UseMayThrow) {
  const test::OpenedModel opened(test::golden("models/llama/model.gguf"));
  BatchDecoder decoder(opened.model, 16, 3);
  for (const int64_t slot : {0, 1, 2}) decoder.append(slot, Ids{1});
  EXPECT_THROW(decoder.step([](int64_t slot, std::span<float>) {
    if (slot == 1) throw std::runtime_error("enough");
  }),
               std::runtime_error);
}

}  // namespace
}  // namespace steelyard::generate
