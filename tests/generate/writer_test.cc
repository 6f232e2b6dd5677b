// Chunks that a model writes: the same however they are written, always full, each text from an empty context.
#include "generate/writer.h"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>

#include "base/parallel.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "model_copy.h"
#include "support.h"

namespace steelyard::generate {

static bool operator==(const WrittenChunk& a, const WrittenChunk& b) {
  return a.ids == b.ids && a.starts == b.starts && a.n_ended == b.n_ended && a.n_looped == b.n_looped &&
         a.n_dropped == b.n_dropped;
}
static void PrintTo(const WrittenChunk& chunk, std::ostream* out) {
  *out << testing::PrintToString(chunk.ids) << " from " << testing::PrintToString(chunk.starts) << ", " << chunk.n_ended
       << " ended, " << chunk.n_looped << " looped, " << chunk.n_dropped << " dropped";
}

namespace {

using Ids = std::vector<tokenizer::TokenId>;

constexpr tokenizer::TokenId kBos = 268, kEos = 269;  // of all golden models

// A golden model that may be changed before it is opened.
class Opened {
 public:
  explicit Opened(const std::string& name, const std::function<void(test::ModelCopy&)>& change = {}) {
    test::ModelCopy copy(test::golden("models/" + name + "/model.gguf"));
    if (change) change(copy);
    copy.save(folder_ / "model.gguf");
    reader_ = std::make_unique<gguf::Reader>(folder_ / "model.gguf");
    model_ = std::make_unique<model::Model>(*reader_, *backend_);
    tokenizer_ = std::make_unique<tokenizer::Tokenizer>(reader_->metadata());
  }

  const model::Model& model() const { return *model_; }

  std::vector<WrittenChunk> write(BeginningShares shares, const WriterOptions& options, int64_t begin,
                                  int64_t end) const {
    Ids excerpts(100);
    std::iota(excerpts.begin(), excerpts.end(), 100);
    const Beginnings beginnings(reader_->metadata(), *tokenizer_, shares, excerpts, /*excerpt_tokens=*/5);
    std::vector<WrittenChunk> chunks;
    write_chunks(*model_, *tokenizer_, beginnings, options, begin, end, [&](int64_t chunk, WrittenChunk written) {
      EXPECT_EQ(chunk, begin + std::ssize(chunks));
      chunks.push_back(std::move(written));
    });
    EXPECT_EQ(std::ssize(chunks), end - begin);
    for (const WrittenChunk& chunk : chunks) expect_whole(chunk, options.n_ctx);
    return chunks;
  }

 private:
  static void expect_whole(const WrittenChunk& chunk, int64_t n_ctx) {
    EXPECT_EQ(std::ssize(chunk.ids), n_ctx);
    ASSERT_FALSE(chunk.starts.empty());
    EXPECT_EQ(chunk.starts[0], 0);
    for (size_t i = 1; i < chunk.starts.size(); ++i) EXPECT_LT(chunk.starts[i - 1], chunk.starts[i]);
    EXPECT_LT(chunk.starts.back(), n_ctx);
    // All but the last text ended in one way or the other.
    EXPECT_EQ(chunk.n_ended + chunk.n_looped, std::ssize(chunk.starts) - 1);
    EXPECT_GE(chunk.n_dropped, chunk.n_looped);
  }

  test::TempFolder folder_;
  std::unique_ptr<gguf::Reader> reader_;
  const std::unique_ptr<compute::Backend> backend_ = compute::make_backend("cpu");
  std::unique_ptr<model::Model> model_;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer_;
};

// Ends and chats are frequent: some common tokens end a text, and the markup of chats is plain text.
void make_talkative(test::ModelCopy& copy) {
  copy.metadata.set_string("tokenizer.chat_template", "[INST]");
  uint32_t id = 10;
  for (const char* key : {"eot", "eom", "fim_pad", "fim_rep", "fim_sep"}) {
    copy.metadata.set_integer(std::string("tokenizer.ggml.") + key + "_token_id", id++);
  }
}

// All logits are 0, so that without a temperature every token is token 0.
void make_dull(test::ModelCopy& copy) {
  for (std::byte& byte : copy.find("output_norm.weight")->bytes) byte = std::byte{0};
}
void make_dull_and_short(test::ModelCopy& copy) {
  make_dull(copy);
  copy.metadata.set_integer("tokenizer.ggml.eot_token_id", 0);
}
void add_bos(test::ModelCopy& copy) { copy.metadata.set_boolean("tokenizer.ggml.add_bos_token", true); }

constexpr BeginningShares kAllKinds{.documents = 1, .chats = 1, .excerpts = 1};

WriterOptions options(int64_t n_ctx, int64_t at_a_time, double temperature, uint64_t seed = 1) {
  WriterOptions options{.n_ctx = n_ctx, .at_a_time = at_a_time};
  options.sampling.temperature = temperature;
  options.sampling.seed = seed;
  return options;
}

// Dense, with experts, latents, recurrent states, and windows.
TEST(Writer, ChunksAreTheSameHoweverTheyAreWritten) {
  const int before = set_thread_count(0);
  for (const char* name : {"llama", "mixtral", "deepseek2", "qwen3next", "gpt-oss"}) {
    SCOPED_TRACE(name);
    const Opened model(name, make_talkative);
    const std::vector<WrittenChunk> all = model.write(kAllKinds, options(40, 3, 0.8), 0, 11);
    for (const int64_t at_a_time : {1, 8, 64}) {
      EXPECT_EQ(model.write(kAllKinds, options(40, at_a_time, 0.8), 0, 11), all) << at_a_time;
    }
    for (const auto& [begin, end] : {std::pair{0, 1}, {5, 6}, {3, 9}, {10, 11}, {4, 4}}) {
      const std::vector<WrittenChunk> part(all.begin() + begin, all.begin() + end);
      for (const int64_t at_a_time : {1, 3}) {
        EXPECT_EQ(model.write(kAllKinds, options(40, at_a_time, 0.8), begin, end), part) << begin << " to " << end;
      }
    }
    for (const int threads : {1, 2, 3}) {
      set_thread_count(threads);
      EXPECT_EQ(model.write(kAllKinds, options(40, 3, 0.8), 0, 11), all) << threads << " threads";
    }
    set_thread_count(before);
    int64_t n_ended = 0;
    for (const WrittenChunk& chunk : all) n_ended += chunk.n_ended;
    EXPECT_GT(n_ended, 0);
    EXPECT_NE(all[0].ids, all[1].ids);
  }
  // Where loops are cut, too.
  const Opened dull("llama", [](test::ModelCopy& copy) {
    make_talkative(copy);
    make_dull(copy);
  });
  const std::vector<WrittenChunk> all = dull.write(kAllKinds, options(100, 3, 0), 0, 7);
  for (const WrittenChunk& chunk : all) EXPECT_GT(chunk.n_looped, 1);
  EXPECT_EQ(dull.write(kAllKinds, options(100, 1, 0), 0, 7), all);
  EXPECT_EQ(dull.write(kAllKinds, options(100, 8, 0), 0, 7), all);
}

TEST(Writer, AnotherSeedGivesAnotherText) {
  const Opened model("llama");
  const auto write = [&](uint64_t seed) { return model.write({}, options(40, 4, 1, seed), 0, 4); };
  EXPECT_EQ(write(1), write(1));
  const std::vector<WrittenChunk> one = write(1), two = write(2);
  for (const WrittenChunk& a : one) {
    for (const WrittenChunk& b : two) EXPECT_NE(a.ids, b.ids);
  }
}

// Every token is the likeliest after those before it in its text, and after no others.
TEST(Writer, TextsBeginInAnEmptyContext) {
  for (const bool bos : {false, true}) {
    const Opened model("llama", [&](test::ModelCopy& copy) {
      make_talkative(copy);
      if (bos) add_bos(copy);
    });
    int64_t n_texts = 0, n_compared = 0;
    for (const WrittenChunk& chunk : model.write({.documents = 0, .excerpts = 1}, options(60, 3, 0), 0, 6)) {
      for (size_t i = 0; i < chunk.starts.size(); ++i) {
        const auto begin = chunk.ids.begin() + chunk.starts[i];
        const auto end = i + 1 < chunk.starts.size() ? chunk.ids.begin() + chunk.starts[i + 1] : chunk.ids.end();
        Ids read(begin, end);
        if (!bos) read.insert(read.begin(), kEos);
        ASSERT_EQ(read[0], bos ? kBos : kEos);
        EXPECT_TRUE(read.size() < 2 || read[1] >= 100);  // the excerpt
        schedule::Session session(model.model(), std::ssize(read));
        const compute::Matrix logits = session.logits(session.forward(read));
        for (size_t t = 6; t < read.size(); ++t, ++n_compared) {
          const float* row = logits.row(static_cast<int64_t>(t) - 1);
          EXPECT_NEAR(row[read[t]], *std::max_element(row, row + logits.cols), 1e-4f);
        }
        ++n_texts;
      }
    }
    EXPECT_GT(n_texts, 6);
    EXPECT_GT(n_compared, 150);
  }
}

// A text that repeats itself is cut after 33 tokens to 2. The next one begins, until one has no room for so many.
TEST(Writer, AModelThatAlwaysRepeats) {
  const auto expected = [](Ids text, int64_t n_ctx) {
    WrittenChunk chunk;
    const int64_t n_given = std::ssize(text) - 2;
    for (int64_t start = 0;; start += std::ssize(text)) {
      chunk.starts.push_back(start);
      if (start + n_given + 33 >= n_ctx) break;
      chunk.ids.insert(chunk.ids.end(), text.begin(), text.end());
      ++chunk.n_looped;
      chunk.n_dropped += 31;
    }
    chunk.ids.insert(chunk.ids.end(), text.begin(), text.end());
    chunk.ids.resize(static_cast<size_t>(n_ctx), 0);
    return chunk;
  };
  const Opened plain("llama", make_dull), with_bos("llama", [](test::ModelCopy&copy) {
    make_dull(copy);
    add_bos(copy);
  });
  for (const int64_t n_ctx : {33, 34, 35, 100}) {
    EXPECT_EQ(plain.write({}, options(n_ctx, 2, 0), 0, 3), std::vector(3, expected({0, 0}, n_ctx))) << n_ctx;
    EXPECT_EQ(with_bos.write({}, options(n_ctx, 2, 0), 0, 3), std::vector(3, expected({kBos, 0, 0}, n_ctx))) << n_ctx;
  }
}

TEST(Writer, AModelThatAlwaysEnds) {
  const Opened plain("llama", make_dull_and_short);
  WrittenChunk expected{.ids = Ids(8, 0), .starts = {0, 1, 2, 3, 4, 5, 6, 7}, .n_ended = 7};
  EXPECT_EQ(plain.write({}, options(8, 4, 0), 2, 5), std::vector(3, expected));
  const Opened with_bos("llama", [](test::ModelCopy& copy) {
    make_dull_and_short(copy);
    add_bos(copy);
  });
  expected = {.ids = {kBos, 0, kBos, 0, kBos, 0, kBos}, .starts = {0, 2, 4, 6}, .n_ended = 3};
  EXPECT_EQ(with_bos.write({}, options(7, 4, 0), 2, 5), std::vector(3, expected));
}

// Where the model ends the question, the markup of its own turn follows, and only where it ends that one the text ends.
TEST(Writer, ChatsHaveAnAnswer) {
  const auto text = [](const std::string& characters) { return Ids(characters.begin(), characters.end()); };
  const Opened ends("llama", [](test::ModelCopy& copy) {
    make_dull_and_short(copy);
    copy.metadata.set_string("tokenizer.chat_template", "[INST]");
  });
  const Ids one = text(std::string("[INST]\0[/INST]\0", 15));
  WrittenChunk expected{.ids = one, .starts = {0, 15}, .n_ended = 1};
  const Ids rest = text("[INST]");
  expected.ids.insert(expected.ids.end(), rest.begin(), rest.end());
  EXPECT_EQ(ends.write({.documents = 0, .chats = 1}, options(21, 4, 0), 0, 2), std::vector(2, expected));
  // The chunk ends within the markup.
  expected = {.ids = Ids(one.begin(), one.begin() + 10), .starts = {0}};
  EXPECT_EQ(ends.write({.documents = 0, .chats = 1}, options(10, 4, 0), 0, 2), std::vector(2, expected));
}

// A beginning that is longer than the chunk is all of it.
TEST(Writer, BeginningsMayFillTheChunk) {
  for (const bool bos : {false, true}) {
    const Opened model("llama", [&](test::ModelCopy& copy) {
      if (bos) add_bos(copy);
    });
    for (const int64_t n_ctx : {1, 4, 5, 6, 7}) {
      for (const WrittenChunk& chunk : model.write({.documents = 0, .excerpts = 1}, options(n_ctx, 2, 1), 0, 5)) {
        for (int64_t i = bos ? 2 : 1; i < std::min<int64_t>(n_ctx, bos ? 6 : 5); ++i) {
          EXPECT_EQ(chunk.ids[static_cast<size_t>(i)], chunk.ids[static_cast<size_t>(i) - 1] + 1);
        }
      }
    }
  }
}

TEST(Writer, WhatPassThrowsEndsTheRun) {
  const Opened model("llama");
  const gguf::Reader reader(test::golden("models/llama/model.gguf"));
  const tokenizer::Tokenizer tokenizer(reader.metadata());
  const Beginnings beginnings(reader.metadata(), tokenizer, {});
  std::vector<int64_t> passed;
  const auto write = [&](const WriterOptions& how) {
    write_chunks(model.model(), tokenizer, beginnings, how, 3, 9, [&](int64_t chunk, const WrittenChunk&) {
      passed.push_back(chunk);
      if (chunk == 5) throw std::runtime_error("enough");
    });
  };
  EXPECT_THROW(write(options(16, 2, 1)), std::runtime_error);
  EXPECT_EQ(passed, (std::vector<int64_t>{3, 4, 5}));
  EXPECT_EQ(test::error_of([&] { write(options(16, 2, -1)); }), "temperature is -1, expected 0 or more");
}

}  // namespace
}  // namespace steelyard::generate
