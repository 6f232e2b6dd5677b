// What calibration passes through a model: how texts are spelled, where chunks come from, how two texts are mixed, and
// what is refused before a model has written for an hour.
#include "jobs/calibration_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <limits>
#include <set>

#include "base/atomic_file.h"
#include "base/sha256.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "jobs/write.h"
#include "model/architecture.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

// ---- how a text is named

TEST(TextSourceTest, Spellings) {
  struct Case {
    std::string text;
    bool own;
    int64_t own_tokens;
    std::string file;
    std::string recorded;
  };
  const Case cases[] = {
      {"a.txt", false, 0, "a.txt", "a.txt"},
      {"/some/where/a.txt", false, 0, "/some/where/a.txt", "a.txt"},
      {"-", false, 0, "-", "-"},
      {"", false, 0, "", ""},
      {"self", true, 0, "", "self"},
      {"self:1", true, 1, "", "self:1"},
      {"self:65536", true, 65536, "", "self:65536"},
      {"self:1099511627776", true, int64_t{1} << 40, "", "self:1099511627776"},
      {"self+a.txt", true, 0, "a.txt", "self+a.txt"},
      {"self+/some/where/a.txt", true, 0, "/some/where/a.txt", "self+a.txt"},
      {"self:65536+some/a.txt", true, 65536, "some/a.txt", "self:65536+a.txt"},
      {"self+self", true, 0, "self", "self+self"},
      {"self+a+b:1.txt", true, 0, "a+b:1.txt", "self+a+b:1.txt"},
      // Files, whose names only begin like it.
      {"./self", false, 0, "./self", "self"},
      {"selfish.txt", false, 0, "selfish.txt", "selfish.txt"},
      {"self.txt", false, 0, "self.txt", "self.txt"},
      {"self/a.txt", false, 0, "self/a.txt", "a.txt"},
      {"Self", false, 0, "Self", "Self"},
      {"myself", false, 0, "myself", "myself"},
  };
  for (const Case& expected : cases) {
    const TextSource source = TextSource::parse(expected.text);
    EXPECT_EQ(source.own, expected.own) << expected.text;
    EXPECT_EQ(source.own_tokens, expected.own_tokens) << expected.text;
    EXPECT_EQ(source.file, expected.file) << expected.text;
    EXPECT_EQ(source.recorded(), expected.recorded) << expected.text;
  }
}

TEST(TextSourceTest, WhatIsNoNumberOrFile) {
  const auto refusal = [](const std::string& text) { return test::error_of([&] { TextSource::parse(text); }); };
  for (const char* number : {"", "0", "-1", " 1", "1 ", "1e3", "0x10", "64k", "1.5", "9223372036854775807",
                             "9223372036854775808", "1099511627777", "99999999999999999999999", "\xff"}) {
    const std::string text = "self:" + std::string(number);
    EXPECT_THAT(refusal(text), HasSubstr("expected self:N with a number of tokens")) << text;
    EXPECT_EQ(refusal(text).find('\n'), std::string::npos);
  }
  EXPECT_THAT(refusal("self:+1"), HasSubstr("expected self:N with a number of tokens"));
  EXPECT_THAT(refusal("self:x+a.txt"), HasSubstr("found \"x\""));
  EXPECT_THAT(refusal("self+"), HasSubstr("self+: expected the name of a file after the +"));
  EXPECT_THAT(refusal("self:64+"), HasSubstr("expected the name of a file after the +"));
}

// ---- how much is enough

TEST(EnoughChunks, OfDenseModelsAndOfExperts) {
  model::ModelConfig config;
  config.layers.resize(3);
  EXPECT_EQ(enough_chunks(config, 512), 128);
  EXPECT_EQ(enough_chunks(config, 65'536), 1);
  EXPECT_EQ(enough_chunks(config, 1000), 66) << "rounded up";
  EXPECT_EQ(enough_chunks(config, int64_t{1} << 62), 1);
  // 8 experts of which 2 are used see enough of the same text.
  config.layers[1].ffn.n_expert = 8;
  config.layers[1].ffn.n_used = 2;
  EXPECT_EQ(enough_chunks(config, 512), 128);
  // Of 128, of which 8 are used, each sees a sixteenth; the layer that needs most decides.
  config.layers[2].ffn.n_expert = 128;
  config.layers[2].ffn.n_used = 4;
  EXPECT_EQ(enough_chunks(config, 512), (3'000 * 128 / 4 + 511) / 512);
}

// ---- texts

constexpr int64_t kContext = 32;

class CalibrationTextTest : public testing::Test {
 protected:
  CalibrationTextSettings settings(const std::string& source, int64_t n_chunks = 0) const {
    return {.source = TextSource::parse(source),
            .n_ctx = kContext,
            .n_chunks = n_chunks,
            .own_share = 0.75,
            .model = {.model = model_, .threads = 2}};
  }
  CalibrationText read(const CalibrationTextSettings& settings, const ProgressCallback& progress = {}) const {
    CalibrationText text(settings);
    text.read(tokenizer_, model::read_config(reader_), progress);
    return text;
  }
  std::string refusal(const CalibrationTextSettings& settings) const {
    return test::error_of([&] { read(settings); });
  }

  using Ids = std::vector<std::vector<tokenizer::TokenId>>;
  static Ids ids(const tokenizer::Chunks& chunks) {
    Ids all;
    for (int64_t c = 0; c < chunks.count(); ++c) all.push_back(chunks.input(c));
    return all;
  }
  static bool contains(const Ids& all, const std::vector<tokenizer::TokenId>& chunk) {
    return std::ranges::find(all, chunk) != all.end();
  }

  // A text that the model has written and saved.
  std::string saved(const std::string& name, int64_t n_chunks, int64_t n_ctx = kContext) const {
    WriteOptions options;
    options.model.model = model_;
    options.model.threads = 2;
    options.output_file = folder_ / name;
    options.ctx_size = n_ctx;
    options.chunks = n_chunks;
    return write(options).output_file;
  }

  const test::TempFolder folder_;
  const std::string text_ = test::golden("imatrix/text.txt");
  const std::string model_ = test::golden("models/llama/model.gguf");
  const std::string glm_ = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";
  const gguf::Reader reader_{model_};
  const tokenizer::Tokenizer tokenizer_{reader_.metadata()};
};

TEST_F(CalibrationTextTest, AFileAloneIsCutAsItWas) {
  const CalibrationText text = read(settings(text_));
  const tokenizer::Chunks expected({tokenize_file(tokenizer_, text_, false)}, kContext, 0, chunk_bos(tokenizer_),
                                   text_);
  EXPECT_EQ(ids(text.chunks()), ids(expected));
  EXPECT_EQ(text.n_first(), expected.count());
  EXPECT_EQ(text.sha256(), sha256(test::read_text(text_)));
  EXPECT_FALSE(text.writing());
  EXPECT_EQ(read(settings(text_, 3)).chunks().count(), 3);
  EXPECT_EQ(read(settings(text_, 1000)).chunks().count(), expected.count());
  CalibrationTextSettings later = settings(text_, 3);
  later.from_chunk = 2;
  EXPECT_EQ(read(later).chunks().input(0), expected.input(2));
  later.from_chunk = 1000;
  EXPECT_THAT(refusal(later), HasSubstr("too few"));
  later.from_chunk = -1;
  EXPECT_THAT(refusal(later), HasSubstr("--from-chunk: expected a number from 0, found -1"));
}

TEST_F(CalibrationTextTest, SpecialTokensWhereTheyAreWanted) {
  const std::string file = folder_ / "special.txt";
  std::string content;
  for (int i = 0; i < 80; ++i) content += "<|user|>";
  write_file(file, content);
  CalibrationTextSettings special = settings(file);
  special.parse_special = true;
  EXPECT_EQ(read(special).chunks().count(), 80 / kContext);
  EXPECT_GT(read(settings(file)).chunks().count(), 80 / kContext);
}

TEST_F(CalibrationTextTest, OwnTextIsWhatWriteWrites) {
  int64_t told = 0;
  const CalibrationText text = read(settings("self", 5), [&](const Progress& progress) {
    EXPECT_EQ(progress.stage, "write");
    EXPECT_EQ(progress.total, 5);
    told = progress.done;
  });
  EXPECT_EQ(told, 5);
  const std::string content = test::read_text(saved("own.text", 5));
  EXPECT_EQ(ids(text.chunks()), ids(parse_saved_text(content, tokenizer_, "").as_chunks(0, 0, "")));
  EXPECT_EQ(text.sha256(), sha256(content));
  ASSERT_TRUE(text.writing());
  EXPECT_EQ(text.writing()->n_chunks, 5);
  EXPECT_EQ(text.n_first(), 5);
}

// Whatever precision the calibration is to have: a text may be written in either, but it is the same for both.
TEST_F(CalibrationTextTest, ThePrecisionOfWritingIsAlwaysTheSame) {
  const gguf::Reader reader(glm_);
  std::set<std::string> texts;
  for (const char* precision : {"exact", "fast"}) {
    CalibrationTextSettings own = settings("self", 2);
    own.model = {.model = glm_, .precision = precision, .threads = 2};
    CalibrationText text(own);
    text.read(tokenizer::Tokenizer(reader.metadata()), model::read_config(reader), {});
    texts.insert(text.sha256());
  }
  EXPECT_EQ(texts.size(), 1u);
}

TEST_F(CalibrationTextTest, AsManyTokensAsAreNamed) {
  EXPECT_EQ(read(settings("self:1")).chunks().count(), 1);
  EXPECT_EQ(read(settings("self:64")).chunks().count(), 2);
  EXPECT_EQ(read(settings("self:65")).chunks().count(), 3) << "rounded up to whole chunks";
  EXPECT_EQ(read(settings("self:65")).chunks().n_ctx(), kContext);
}

TEST_F(CalibrationTextTest, WithoutANumberItIsEnough) {
  CalibrationTextSettings all = settings("self", -5);
  all.n_ctx = 256;  // the model's context; the number of chunks is known before the first
  struct Enough {};
  int64_t total = 0;
  EXPECT_THROW(read(all,
                    [&](const Progress& progress) {
                      total = progress.total;
                      throw Enough();
                    }),
               Enough);
  EXPECT_EQ(total, 65'536 / 256);
}

TEST_F(CalibrationTextTest, SavedTextNeedsNoWriting) {
  const std::string file = saved("own.text", 6);
  const Ids all = ids(read(settings("self", 6)).chunks());
  const CalibrationText text = read(settings(file), [](const Progress& progress) { ADD_FAILURE() << progress.stage; });
  EXPECT_EQ(ids(text.chunks()), all);
  EXPECT_FALSE(text.writing());
  EXPECT_EQ(text.sha256(), read(settings("self", 6)).sha256());
  // Texts within a chunk begin where they began.
  bool several = false;
  for (int64_t c = 0; c < text.chunks().count(); ++c) several = several || text.chunks().starts(c).size() > 1;
  EXPECT_TRUE(several) << "says nothing about them";

  EXPECT_EQ(ids(read(settings(file, 2)).chunks()), Ids(all.begin(), all.begin() + 2));
  CalibrationTextSettings later = settings(file);
  later.from_chunk = 2;
  EXPECT_EQ(ids(read(later).chunks()), Ids(all.begin() + 2, all.end()));
  later.n_chunks = 3;
  EXPECT_EQ(ids(read(later).chunks()), Ids(all.begin() + 2, all.begin() + 5));
  for (const int64_t n : {int64_t{6}, int64_t{7}, INT64_MAX}) {
    later.from_chunk = n;
    EXPECT_THAT(refusal(later), HasSubstr("own.text: has no chunks")) << n;
  }
  later.from_chunk = -1;
  EXPECT_THAT(refusal(later), HasSubstr("--from-chunk: expected a number from 0, found -1"));
}

// Its chunks are as long as they were written.
TEST_F(CalibrationTextTest, SavedTextHasAContextOfItsOwn) {
  EXPECT_EQ(read(settings(saved("own.text", 2, 16))).chunks().n_ctx(), 16);
}

TEST_F(CalibrationTextTest, DamagedSavedTextIsNoPlainText) {
  const std::string content = test::read_text(saved("own.text", 3));
  write_file(folder_ / "cut.text", content.substr(0, content.size() - 10));
  EXPECT_THAT(refusal(settings(folder_ / "cut.text")), HasSubstr("cut.text: its last line is cut off"));
  EXPECT_THAT(refusal(settings("self+" + (folder_ / "cut.text"), 8)), HasSubstr("cut.text: its last line is cut off"));
}

TEST_F(CalibrationTextTest, SavedTextOfAnotherVocabulary) {
  const std::string file = saved("own.text", 2);
  CalibrationTextSettings other = settings(file);
  other.model.model = glm_;
  const gguf::Reader reader(glm_);
  CalibrationText text(other);
  EXPECT_THAT(
      test::error_of([&] { text.read(tokenizer::Tokenizer(reader.metadata()), model::read_config(reader), {}); }),
      HasSubstr("own.text: was written by a model with another vocabulary"));
}

// ---- mixtures

TEST_F(CalibrationTextTest, MixturesHaveTheirShares) {
  const Ids own = ids(read(settings("self", 12)).chunks()), given = ids(read(settings(text_, 12)).chunks());
  for (const auto& [share, n_own] : std::vector<std::pair<double, int64_t>>{{0.75, 9}, {0.5, 6}, {0.25, 3}, {0.1, 1}}) {
    CalibrationTextSettings mixture = settings("self+" + text_, 12);
    mixture.own_share = share;
    const CalibrationText text = read(mixture);
    const Ids mixed = ids(text.chunks());
    ASSERT_EQ(mixed.size(), 12u);
    EXPECT_EQ(text.n_first(), 12);
    EXPECT_EQ(text.writing()->n_chunks, n_own);
    // Both in their own order, and dealt evenly: any beginning has its share, to one chunk.
    size_t next_own = 0, next_given = 0;
    for (size_t i = 0; i < mixed.size(); ++i) {
      if (mixed[i] == own[next_own])
        ++next_own;
      else if (mixed[i] == given[next_given])
        ++next_given;
      else
        FAIL() << "chunk " << i;
      EXPECT_NEAR(static_cast<double>(next_own), static_cast<double>((i + 1) * static_cast<size_t>(n_own)) / 12.0, 0.75)
          << share << " at " << i;
    }
    EXPECT_EQ(static_cast<int64_t>(next_own), n_own);
  }
}

TEST_F(CalibrationTextTest, AMixtureOfSoManyTokens) {
  const CalibrationText text = read(settings("self:65+" + text_, 8));
  EXPECT_EQ(text.chunks().count(), 8);
  EXPECT_EQ(text.writing()->n_chunks, 3);
}

TEST_F(CalibrationTextTest, AShortFileGivesWhatItHas) {
  const int64_t n_file = read(settings(text_)).chunks().count();
  CalibrationTextSettings mixture = settings("self:64+" + text_, n_file + 100);
  EXPECT_EQ(read(mixture).chunks().count(), n_file + 2);
}

TEST_F(CalibrationTextTest, AMixtureWithASavedText) {
  const std::string file = saved("own.text", 4);
  CalibrationTextSettings mixture = settings("self+" + file, 4);
  mixture.own_share = 0.5;
  mixture.writing.seed = 1;
  const Ids mixed = ids(read(mixture).chunks()), given = ids(read(settings(file)).chunks());
  EXPECT_EQ(mixed.size(), 4u);
  EXPECT_TRUE(contains(mixed, given[0]));
  EXPECT_TRUE(contains(mixed, given[1]));
  EXPECT_FALSE(contains(mixed, given[2]));
  // Known to be wrong before the model writes.
  mixture.source.file = saved("short.text", 4, 16);
  CalibrationText text(mixture);
  EXPECT_THAT(test::error_of([&] {
                text.read(tokenizer_, model::read_config(reader_),
                          [](const Progress& progress) { ADD_FAILURE() << progress.stage; });
              }),
              HasSubstr("short.text: has chunks of 16 tokens, and the model is to write 32: -c 16"));
}

TEST_F(CalibrationTextTest, TheHashOfAMixtureIsThatOfBoth) {
  CalibrationTextSettings mixture = settings("self+" + text_, 8);
  const std::string hash = read(mixture).sha256();
  EXPECT_EQ(read(mixture).sha256(), hash);
  EXPECT_EQ(hash, sha256(read(settings("self", 6)).sha256() + "\n" + sha256(test::read_text(text_))));
  mixture.own_share = 0.5;
  EXPECT_NE(read(mixture).sha256(), hash);
  const std::string other = folder_ / "other.txt";
  write_file(other, test::read_text(text_) + "!");
  EXPECT_NE(read(settings("self+" + other, 8)).sha256(), hash);
}

TEST_F(CalibrationTextTest, SharesOutOfRange) {
  CalibrationTextSettings mixture = settings("self+" + text_, 8);
  for (const double share : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()}) {
    mixture.own_share = share;
    EXPECT_THAT(refusal(mixture), HasSubstr("--own-share: expected 0 to 1"));
  }
  mixture.own_share = 0;
  EXPECT_THAT(refusal(mixture), HasSubstr("nothing is left for the model to write: --own-share 0"));
}

// ---- more, later

TEST_F(CalibrationTextTest, WritesMoreAsOftenAsItIsAsked) {
  CalibrationTextSettings growing = settings("self", 3);
  growing.grows = true;
  growing.progress = {.resume = folder_ / "progress", .save_every = 0};
  CalibrationText text = read(growing);
  const tokenizer::Chunks& chunks = text.chunks();
  EXPECT_EQ(chunks.count(), 3);
  text.write_more({});
  text.write_more({});
  EXPECT_EQ(chunks.count(), 9) << "what is there stays where it is";
  EXPECT_EQ(text.n_first(), 3);
  EXPECT_EQ(text.writing()->n_chunks, 9);
  EXPECT_EQ(ids(chunks), ids(read(settings("self", 9)).chunks()));

  // Another run has all of it at once.
  text.take_progress();  // gives it up, and leaves it
  CalibrationText again = read(growing, [](const Progress& progress) { ADD_FAILURE() << progress.stage; });
  EXPECT_EQ(again.n_first(), 3);
  EXPECT_EQ(ids(again.chunks()), ids(chunks));
  EXPECT_EQ(again.sha256(), text.sha256());
  again.finish();
  EXPECT_FALSE(std::filesystem::exists(folder_ / "progress"));
}

// An interruption between two rounds leaves parts of one, which do not count yet.
TEST_F(CalibrationTextTest, MoreInWholeRounds) {
  CalibrationTextSettings growing = settings("self", 5);
  growing.grows = true;
  growing.progress = {.resume = folder_ / "progress", .save_every = 0};
  read(growing);
  growing.source.own_tokens = 2 * kContext;
  const CalibrationText text = read(growing);
  EXPECT_EQ(text.n_first(), 2);
  EXPECT_EQ(text.chunks().count(), 4);
}

// ---- files

TEST_F(CalibrationTextTest, KeepsTheText) {
  CalibrationTextSettings kept = settings("self", 4);
  kept.files.save_text = folder_ / "kept.text";
  kept.progress.resume = folder_ / "progress";
  CalibrationText text = read(kept);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "progress"));
  text.finish();
  EXPECT_FALSE(std::filesystem::exists(folder_ / "progress"));
  EXPECT_EQ(test::read_text(folder_ / "kept.text"), test::read_text(saved("own.text", 4)));
  // Of a mixture its own part.
  kept.source = TextSource::parse("self+" + text_);
  kept.files.save_text = folder_ / "mixture.text";
  kept.progress = {};
  read(kept);
  EXPECT_EQ(test::read_text(folder_ / "mixture.text"), test::read_text(saved("own.text", 3)));
}

// A model that is named as the file to keep the text in would be lost.
TEST_F(CalibrationTextTest, TextIsNotKeptInAnInput) {
  std::filesystem::copy_file(model_, folder_ / "model.gguf");
  write_file(folder_ / "text.txt", test::read_text(text_));
  CalibrationTextSettings kept = settings("self+" + (folder_ / "text.txt"), 4);
  kept.model.model = folder_ / "model.gguf";
  const auto refused = [&](const std::string& path) {
    kept.files.save_text = path;
    CalibrationText text(kept);
    return test::error_of([&] {
      text.read(tokenizer_, model::read_config(reader_),
                [](const Progress& progress) { ADD_FAILURE() << progress.stage; });
    });
  };
  EXPECT_THAT(refused(folder_ / "model.gguf"), HasSubstr("model.gguf: is also the input"));
  EXPECT_THAT(refused(folder_ / "text.txt"), HasSubstr("text.txt: is also the input"));
  EXPECT_THAT(refused(folder_ / "absent/own.text"), HasSubstr("absent/own.text: cannot write here"));
  kept.files.writer = kept.model.model;
  kept.model.model = model_;
  EXPECT_THAT(refused(folder_ / "model.gguf"), HasSubstr("model.gguf: is also the input"));
  EXPECT_TRUE(test::read_text(folder_ / "model.gguf") == test::read_text(model_));
}

TEST_F(CalibrationTextTest, AnotherModelMayWrite) {
  CalibrationTextSettings written = settings("self", 4);
  const std::string own = read(written).sha256();
  written.files.writer = model_;
  EXPECT_EQ(read(written).sha256(), own);
  written.files.writer = test::golden("models/qwen3/model.gguf");  // of the same vocabulary
  EXPECT_NE(read(written).sha256(), own);
  written.files.writer = folder_ / "absent.gguf";
  EXPECT_THAT(refusal(written), HasSubstr("absent.gguf: cannot open"));
}

TEST_F(CalibrationTextTest, AWriterOfAnotherVocabularyIsRefusedAtOnce) {
  CalibrationTextSettings written = settings("self", 4);
  written.files.writer = glm_;
  CalibrationText text(written);
  EXPECT_THAT(test::error_of([&] {
                text.read(tokenizer_, model::read_config(reader_),
                          [](const Progress& progress) { ADD_FAILURE() << progress.stage; });
              }),
              HasSubstr("glm-flash-tiny-bf16.gguf: has another vocabulary than the model that it writes for"));
}

TEST_F(CalibrationTextTest, OptionsOfWritingNeedAWriter) {
  const auto expect_refused = [&](const std::function<void(CalibrationTextSettings&)>& change) {
    CalibrationTextSettings plain = settings(text_, 4);
    EXPECT_EQ(refusal(plain), "");
    change(plain);
    EXPECT_THAT(refusal(plain), HasSubstr("need a text called self"));
    plain.source = TextSource::parse("self");
    EXPECT_EQ(test::error_of([&] { CalibrationText text(plain); }), "");
  };
  expect_refused([](auto& settings) { settings.writing.seed = 1; });
  expect_refused([](auto& settings) { settings.writing.temp = 0.5; });
  expect_refused([](auto& settings) { settings.writing.top_p = 0.5; });
  expect_refused([](auto& settings) { settings.writing.chats = 0; });
  expect_refused([](auto& settings) { settings.writing.excerpts = 0.1; });
  expect_refused([](auto& settings) { settings.writing.excerpts_of = "a.txt"; });
  expect_refused([](auto& settings) { settings.files.writer = "a.gguf"; });
  expect_refused([](auto& settings) { settings.files.save_text = "a.text"; });
}

TEST_F(CalibrationTextTest, OptionsOutOfRange) {
  CalibrationTextSettings own = settings("self", 4);
  own.writing.seed = -1;
  EXPECT_THAT(refusal(own), HasSubstr("--seed"));
  own = settings("self");
  for (const int64_t n_ctx : {INT64_MIN, int64_t{-1}, int64_t{0}, int64_t{3}}) {
    own.n_ctx = n_ctx;
    EXPECT_THAT(refusal(own), HasSubstr("a text has at least 4 tokens")) << n_ctx;
  }
  for (const int64_t n_ctx : {int64_t{257}, INT64_MAX}) {
    own.n_ctx = n_ctx;
    EXPECT_THAT(refusal(own), HasSubstr("a text has 4 to 256 tokens, the model's context")) << n_ctx;
  }
  EXPECT_THAT(refusal(settings(folder_ / "absent.txt")), HasSubstr("absent.txt: cannot open"));
  EXPECT_THAT(refusal(settings("self+" + (folder_ / "absent.txt"))), HasSubstr("absent.txt: cannot open"));
  write_file(folder_ / "short.txt", "a few words");
  EXPECT_THAT(refusal(settings("self+" + (folder_ / "short.txt"), 4)), HasSubstr("short.txt"));
}

}  // namespace
}  // namespace steelyard::jobs
