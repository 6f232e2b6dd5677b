// Base files that are damaged, cut, of another model or text: an Error each, never a crash or a number out of thin air.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "error_of.h"
#include "evaluate/compact_base.h"
#include "evaluate/tiny_run.h"

namespace steelyard::evaluate {
namespace {

class BaseFile : public testing::TestWithParam<BaseLayout> {
 protected:
  BaseFile() {
    tiny_.write_base(folder_ / "base", GetParam());
    bytes_ = test::read_text(folder_ / "base");
  }

  // Opens `bytes` as a base and scores all its rows with the logits of a uniform model. The message of an Error, or "".
  std::string error_of(const std::string& bytes) const {
    std::ofstream(folder_ / "changed", std::ios::binary) << bytes;
    return test::error_of([&] {
      const auto base = DivergenceBase::open(folder_ / "changed");
      base->require(tiny_.chunks, tiny_.identity);
      const std::vector<float> x(static_cast<size_t>(base->n_vocab()));
      for (int64_t c = 0; c < tiny_.chunks.count(); ++c) {
        for (int64_t i = 0; i < base->n_scored(); ++i) {
          const TokenScore score = base->compare(c, i, 5, x);
          EXPECT_TRUE(std::isfinite(score.base_nll));
          base->choices(c, i);
          expect_named_once(*base, c, i);
        }
      }
    });
  }

  // What target() names are tokens of the vocabulary, each once.
  static void expect_named_once(const DivergenceBase& base, int64_t chunk, int64_t index) {
    std::vector<int32_t> tokens(static_cast<size_t>(base.n_targets()));
    std::vector<float> probs(tokens.size());
    base.target(chunk, index, tokens, probs);
    std::vector<bool> named(static_cast<size_t>(base.n_vocab()));
    for (const int32_t token : tokens) {
      if (token == -1) continue;
      ASSERT_TRUE(token >= 0 && token < base.n_vocab());
      EXPECT_FALSE(named[static_cast<size_t>(token)]) << token;
      named[static_cast<size_t>(token)] = true;
    }
  }

  template <typename T>
  std::string with(size_t at, T value) const {
    std::string bytes = bytes_;
    std::memcpy(bytes.data() + at, &value, sizeof(value));
    return bytes;
  }

  const test::TempFolder folder_;
  const TinyRun tiny_;
  std::string bytes_;
};

TEST_P(BaseFile, Undamaged) { EXPECT_EQ(error_of(bytes_), ""); }

TEST_P(BaseFile, Cut) {
  for (const size_t n : {size_t{0}, size_t{7}, size_t{8}, size_t{19}, size_t{100}, size_t{235}, size_t{236},
                         size_t{500}, bytes_.size() / 2, bytes_.size() - 1}) {
    EXPECT_NE(error_of(bytes_.substr(0, n)), "") << n;
  }
}

// Random changes of the head, where every byte is checked, and anywhere.
TEST_P(BaseFile, Fuzz) {
  std::mt19937 random(11);
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  for (int round = 0; round < 300; ++round) {
    std::string bytes = bytes_;
    const size_t range = round % 3 == 0 ? bytes.size() : round % 3 == 1 ? 256 : 4000;
    for (size_t change = 0; change <= below(4); ++change) {
      bytes[below(std::min(range, bytes.size()))] = static_cast<char>(below(256));
    }
    if (round % 7 == 0) bytes.resize(below(bytes.size()));
    error_of(bytes);  // must return, whatever it says
  }
}

TEST_P(BaseFile, OfAnotherTextOrContext) {
  const tokenizer::Chunks others(tokenizer::tokenize_file(tiny_.tokenizer, test::golden("imatrix/text.txt"), false), 32,
                                 4, std::nullopt, "");
  EXPECT_THROW(DivergenceBase::open(folder_ / "base")->require(others, tiny_.identity), Error);
  const TinyRun more(test::golden("models/deepseek2/model.gguf"), 9);
  EXPECT_THROW(DivergenceBase::open(folder_ / "base")->require(more.chunks, more.identity), Error);
  ModelIdentity wider = tiny_.identity;
  wider.n_vocab += 1;
  EXPECT_THROW(DivergenceBase::open(folder_ / "base")->require(tiny_.chunks, wider), Error);
}

INSTANTIATE_TEST_SUITE_P(Layouts, BaseFile, testing::Values(BaseLayout::kCompact, BaseLayout::kLlama),
                         [](const auto& tested) { return tested.param == BaseLayout::kLlama ? "llama" : "compact"; });

// What only the compact layout has. Offsets are those of the page on it.
class CompactBaseFile : public BaseFile {};

TEST_P(CompactBaseFile, EveryNumberIsChecked) {
  using testing::HasSubstr;
  for (const uint32_t value : {0u, 4u, 0xffffffffu}) EXPECT_THAT(error_of(with(8, value)), HasSubstr("version"));
  // What follows is not a position then, but a token or a number of the text.
  for (const uint32_t value : {2u, 3u}) EXPECT_NE(error_of(with(8, value)), "");
  for (size_t at = 12; at < 44; at += 4) {
    for (const uint32_t value : {0u, 1u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
      EXPECT_NE(error_of(with(at, value)), "") << "offset " << at << " value " << value;
    }
  }
  EXPECT_THAT(error_of(with(44, 'x')), HasSubstr("damaged"));
  EXPECT_THAT(error_of(with(108, bytes_[108] == 'a' ? 'b' : 'a')), HasSubstr("another vocabulary"));
  EXPECT_THAT(error_of(with(172, bytes_[172] == 'a' ? 'b' : 'a')), HasSubstr("damaged"));
  EXPECT_THAT(error_of(with(236, int32_t{3})), HasSubstr("damaged")) << "a token that its hash does not know";

  const auto base = CompactBase(MappedFile(folder_ / "base"));
  const size_t layers = 236 + 4 * 8 * 64, rows = layers + 4 * base.experts().layers.size();
  const auto n_tokens = static_cast<size_t>(base.shape().n_tokens());
  EXPECT_THAT(error_of(with(layers, int32_t{-1})), HasSubstr("layers"));
  EXPECT_THAT(error_of(with(rows, 1.0f)), HasSubstr("next token"));
  EXPECT_THAT(error_of(with(rows, std::nanf(""))), HasSubstr("next token"));
  EXPECT_THAT(error_of(with(rows + 4, -0.5f)), HasSubstr("tail"));
  EXPECT_THAT(error_of(with(rows + 4, std::nanf(""))), HasSubstr("tail"));
  EXPECT_THAT(error_of(with(rows + 8, int32_t{272})), HasSubstr("token 272 of 272"));
  EXPECT_THAT(error_of(with(rows + 8, int32_t{-1})), HasSubstr("token -1"));
  int32_t second;
  std::memcpy(&second, bytes_.data() + rows + 12, sizeof(second));
  EXPECT_THAT(error_of(with(rows + 8, second)), HasSubstr("twice"));
  EXPECT_THAT(error_of(with(rows + 8 + 4 * n_tokens, -30.0f)), HasSubstr("do not descend"));
  EXPECT_THAT(error_of(with(rows + 8 + 4 * n_tokens, 0.0f)), HasSubstr("add up"));
  EXPECT_THAT(error_of(with(rows + 8 + 8 * n_tokens, uint16_t{8})), HasSubstr("experts"));
}

INSTANTIATE_TEST_SUITE_P(Compact, CompactBaseFile, testing::Values(BaseLayout::kCompact));

}  // namespace
}  // namespace steelyard::evaluate
