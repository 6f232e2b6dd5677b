// A model's own text: the same bytes however it is written, interrupted or continued; what belongs to another run is
// refused.
#include "jobs/own_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "base/atomic_file.h"
#include "base/sha256.h"
#include "error_of.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

constexpr int64_t kContext = 32;

struct Interrupted {};

class OwnTextTest : public testing::Test {
 protected:
  // A model that writes: file, tokenizer.
  struct Writer {
    explicit Writer(const std::string& path, int threads = 2)
        : open({.model = path, .precision = "fast", .threads = threads}), tokenizer(open.reader().metadata()) {}
    OpenModel open;
    tokenizer::Tokenizer tokenizer;
  };

  OwnText own_text(OwnText::Run run = {}, const WritingOptions& options = {}, int64_t n_ctx = kContext) const {
    return {llama_.open, llama_.tokenizer, options, n_ctx, std::move(run)};
  }
  // With progress that is saved after every chunk.
  OwnText::Run with_progress() const { return {.resume = {.resume = progress_, .save_every = 0}}; }

  static std::string written(const Writer& writer, int64_t n_chunks, OwnText::Run run = {},
                             const WritingOptions& options = {}) {
    OwnText own(writer.open, writer.tokenizer, options, kContext, std::move(run));
    own.write(n_chunks, {});
    return print(own.text(), n_chunks, writer.tokenizer);
  }
  std::string written(int64_t n_chunks, OwnText::Run run = {}, const WritingOptions& options = {}) const {
    return written(llama_, n_chunks, std::move(run), options);
  }

  // A run that ends after so many chunks, with all but the last of them saved.
  void interrupt(int64_t after_chunks, const WritingOptions& options = {}) const {
    OwnText own = own_text(with_progress(), options);
    EXPECT_THROW(own.write(8,
                           [&](const Progress& progress) {
                             if (progress.done == after_chunks) throw Interrupted();
                           }),
                 Interrupted);
  }

  std::string refusal(OwnText::Run run, const WritingOptions& options = {}, int64_t n_ctx = kContext) const {
    return test::error_of([&] { own_text(std::move(run), options, n_ctx); });
  }
  std::string refusal(const WritingOptions& options, int64_t n_ctx = kContext) const {
    return refusal(OwnText::Run(), options, n_ctx);
  }

  const test::TempFolder folder_;
  const std::string progress_ = folder_ / "progress";
  const std::string text_ = test::golden("imatrix/text.txt");
  const Writer llama_{test::golden("models/llama/model.gguf")};
};

TEST_F(OwnTextTest, DependsOnTheOptionsAlone) {
  const std::string text = written(8);
  EXPECT_EQ(written(8, {.parallel = 1}), text);
  EXPECT_EQ(written(8, {.parallel = 3}), text);
  EXPECT_EQ(written(Writer(test::golden("models/llama/model.gguf"), /*threads=*/1), 8), text);
  EXPECT_EQ(written(8, with_progress()), text);
  std::set<std::string> different = {text};
  for (const WritingOptions& options : {WritingOptions{.seed = 1}, WritingOptions{.temp = 0.5},
                                        WritingOptions{.top_p = 0.5}, WritingOptions{.seed = int64_t{1} << 40}}) {
    // Not only in the header, which has the options.
    const std::string other = written(8, {}, options);
    different.insert(other.substr(other.find('\n')));
  }
  EXPECT_EQ(different.size(), 5u);
}

// With experts, each of which sees the tokens of other texts in one batch and a single one in another.
TEST_F(OwnTextTest, DependsOnTheOptionsAloneWithExpertsToo) {
  const Writer glm(std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf");
  const std::string text = written(glm, 5, {.parallel = 5});
  for (const int64_t parallel : {1, 2, 3}) EXPECT_EQ(written(glm, 5, {.parallel = parallel}), text) << parallel;
}

TEST_F(OwnTextTest, TellsHowFarItIs) {
  int64_t last = -1;
  OwnText own = own_text();
  own.write(4, [&](const Progress& progress) {
    EXPECT_EQ(progress.stage, "write");
    EXPECT_EQ(progress.unit, "chunks");
    EXPECT_EQ(progress.total, 4);
    EXPECT_EQ(progress.done, last + 1);
    last = progress.done;
  });
  EXPECT_EQ(last, 4);
}

TEST_F(OwnTextTest, GoesOnAfterAnInterruption) {
  const std::string whole = written(8);
  interrupt(3);
  OwnText own = own_text(with_progress());
  EXPECT_EQ(own.text().chunks.size(), 2u);
  int64_t first = -1;
  own.write(8, [&](const Progress& progress) {
    if (first < 0) first = progress.done;
  });
  EXPECT_EQ(first, 2);
  EXPECT_EQ(own.figures().resumed_chunks, 2);
  EXPECT_EQ(own.figures().n_tokens, 6 * kContext);
  EXPECT_EQ(print(own.text(), 8, llama_.tokenizer), whole);
}

TEST_F(OwnTextTest, IsInterruptedAgainAndAgain) {
  for (int64_t chunk = 1; chunk <= 6; ++chunk) interrupt(chunk);
  EXPECT_EQ(written(8, with_progress()), written(8));
}

TEST_F(OwnTextTest, GoesOnToMoreChunksThanEarlier) {
  written(3, with_progress());
  OwnText own = own_text(with_progress());
  own.write(5, {});
  EXPECT_EQ(own.figures().resumed_chunks, 3);
  own.write(8, {});
  EXPECT_EQ(own.figures().resumed_chunks, 3);
  EXPECT_EQ(own.figures().n_chunks, 8);
  EXPECT_EQ(own.figures().n_tokens, 5 * kContext);
  EXPECT_EQ(print(own.text(), 8, llama_.tokenizer), written(8));
}

TEST_F(OwnTextTest, FewerChunksThanEarlierNeedNoWriting) {
  written(6, with_progress());
  const std::string before = test::read_text(progress_);
  OwnText own = own_text(with_progress());
  own.write(4, [](const Progress& progress) { ADD_FAILURE() << progress.stage; });
  EXPECT_EQ(print(own.text(), 4, llama_.tokenizer), written(4));
  EXPECT_EQ(own.text().chunks.size(), 6u);
  EXPECT_EQ(own.figures().n_chunks, 4);
  EXPECT_EQ(own.figures().resumed_chunks, 4);
  EXPECT_EQ(own.figures().n_tokens, 0);
  EXPECT_EQ(test::read_text(progress_), before);
}

TEST_F(OwnTextTest, ProgressOfAnotherRunIsRefused) {
  interrupt(3);
  const auto refused = HasSubstr(progress_ + ": is the progress of a run with another model, text or other settings");
  EXPECT_THAT(refusal(with_progress(), {.seed = 1}), refused);
  EXPECT_THAT(refusal(with_progress(), {.temp = 0.5}), refused);
  EXPECT_THAT(refusal(with_progress(), {.top_p = 0.5}), refused);
  EXPECT_THAT(refusal(with_progress(), {}, kContext * 2), refused);
  const Writer other(test::golden("models/qwen3/model.gguf"));
  EXPECT_THAT(test::error_of([&] { OwnText(other.open, other.tokenizer, {}, kContext, with_progress()); }), refused);
  const OpenModel exact({.model = test::golden("models/llama/model.gguf"), .threads = 2});
  EXPECT_THAT(test::error_of([&] { OwnText(exact, llama_.tokenizer, {}, kContext, with_progress()); }), refused);
  // How many at a time does not matter.
  OwnText::Run run = with_progress();
  run.parallel = 5;
  EXPECT_EQ(refusal(run), "");
}

TEST_F(OwnTextTest, ProgressOfAnotherTextMayBeReplaced) {
  interrupt(3);
  OwnText::Run run = with_progress();
  run.replace = true;
  OwnText own = own_text(run, {.seed = 1});
  EXPECT_TRUE(own.text().chunks.empty());
  own.write(2, {});
  own.take_progress();  // gives it up, and leaves it
  EXPECT_EQ(own_text(with_progress(), {.seed = 1}).text().chunks.size(), 2u);
}

TEST_F(OwnTextTest, DamagedProgressIsRefused) {
  interrupt(3);
  const std::string bytes = test::read_text(progress_);
  for (const size_t at : {size_t{0}, size_t{20}, size_t{80}, bytes.size() / 2, bytes.size() - 1}) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    write_file(progress_, damaged);
    EXPECT_THAT(refusal(with_progress()), HasSubstr(progress_ + ": is ")) << at;
  }
  for (const size_t size : {size_t{1}, size_t{7}, size_t{100}, bytes.size() - 1}) {
    write_file(progress_, bytes.substr(0, size));
    EXPECT_THAT(refusal(with_progress()), HasSubstr(progress_ + ": is ")) << size;
  }
  write_file(progress_, "a text of one's own");
  EXPECT_THAT(refusal(with_progress()), HasSubstr("is not the progress of writing a text"));
}

// Of what is on the disk when an excerpt is drawn; of another file it would be another text.
TEST_F(OwnTextTest, ExcerptsAreOfTheFileThatWasThere) {
  const std::string excerpts = folder_ / "excerpts.txt";
  write_file(excerpts, test::read_text(text_));
  const WritingOptions options{.chats = 0, .excerpts = 1, .excerpts_of = excerpts};
  interrupt(3, options);
  EXPECT_EQ(refusal(with_progress(), options), "");
  write_file(excerpts, test::read_text(text_) + " More.");
  EXPECT_THAT(refusal(with_progress(), options), HasSubstr("is the progress of a run with another"));
}

TEST_F(OwnTextTest, TextsBeginWithExcerpts) {
  // Of a file, or of the text that comes with the program.
  const std::string provided = std::string(STEELYARD_SOURCE_DIR) + "/calibration/default.txt";
  for (const auto& [named, file] : {std::pair(text_, text_), std::pair(std::string(), provided)}) {
    OwnText own = own_text({}, {.chats = 0, .excerpts = 1, .excerpts_of = named});
    own.write(6, {});
    const std::string content = test::read_text(file);
    EXPECT_EQ(own.text().write.at("excerpts_sha256"), sha256(content));
    const std::vector<tokenizer::TokenId> all = llama_.tokenizer.encode(content, false, false);
    for (const generate::WrittenChunk& chunk : own.text().chunks) {
      const std::vector begin(chunk.ids.begin(), chunk.ids.begin() + 16);
      EXPECT_NE(std::ranges::search(all, begin).begin(), all.end()) << file;
    }
  }
}

TEST_F(OwnTextTest, FiguresCountWhatIsThere) {
  OwnText own = own_text({.parallel = 2}, {.temp = 0.3, .excerpts = 0}, 128);
  own.write(6, {});
  int64_t n_texts = 0, n_ended = 0, n_looped = 0, n_dropped = 0;
  for (const generate::WrittenChunk& chunk : own.text().chunks) {
    EXPECT_EQ(std::ssize(chunk.ids), 128);
    n_texts += std::ssize(chunk.starts);
    n_ended += chunk.n_ended;
    n_looped += chunk.n_looped;
    n_dropped += chunk.n_dropped;
  }
  const WritingFigures& figures = own.figures();
  EXPECT_EQ(figures.n_chunks, 6);
  EXPECT_EQ(figures.n_tokens, 6 * 128);
  EXPECT_EQ(figures.n_texts, n_texts);
  EXPECT_EQ(figures.n_ended, n_ended);
  EXPECT_EQ(figures.n_looped, n_looped);
  EXPECT_EQ(figures.n_dropped, n_dropped);
  EXPECT_GT(n_looped + n_ended, 0) << "says nothing about them";
  EXPECT_EQ(figures.resumed_chunks, 0);
  EXPECT_EQ(figures.parallel, 2);
  EXPECT_GT(figures.seconds, 0);
  WritingFigures read;
  read_json(to_json(figures), read, "test");
  EXPECT_EQ(to_json(read), to_json(figures));
}

TEST_F(OwnTextTest, OptionsOutOfRange) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(refusal({.seed = -1}), HasSubstr("--seed must be at least 0"));
  for (const double share : {-0.1, 1.1, kNan}) {
    EXPECT_THAT(refusal({.chats = share}), HasSubstr("expected shares from 0 to 1"));
    EXPECT_THAT(refusal({.chats = 0, .excerpts = share, .excerpts_of = text_}), HasSubstr("expected shares"));
  }
  EXPECT_THAT(refusal({.chats = 0.6, .excerpts = 0.6, .excerpts_of = text_}), HasSubstr("whose sum is at most 1"));
  EXPECT_EQ(refusal({.chats = 0.5, .excerpts = 0.5, .excerpts_of = text_}), "");
  EXPECT_THAT(refusal({.excerpts = 0.1, .excerpts_of = folder_ / "absent"}), HasSubstr("absent: cannot open"));
  for (const double temp : {-1.0, kNan}) EXPECT_THAT(refusal({.temp = temp}), HasSubstr("temperature"));
  for (const double top_p : {-0.1, 1.5, kNan}) EXPECT_THAT(refusal({.top_p = top_p}), HasSubstr("top-p"));
  for (const int64_t n_ctx : {int64_t{-1}, int64_t{0}, int64_t{3}, int64_t{257}, INT64_MAX, INT64_MIN}) {
    EXPECT_THAT(refusal(WritingOptions(), n_ctx), HasSubstr("a text has 4 to 256 tokens, the model's context"));
  }
}

// A path that is no UTF-8 is one still.
TEST_F(OwnTextTest, AnyNameOfAFile) {
  const std::string name = folder_ / "\xff.txt";
  write_file(name, test::read_text(text_));
  EXPECT_NE(written(1, with_progress(), {.chats = 0.5, .excerpts = 0.5, .excerpts_of = name}), "");
}

}  // namespace
}  // namespace steelyard::jobs
