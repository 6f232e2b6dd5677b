// write as a job: the file, its way back into calibration, what a run reports, interruption, and what is refused.
#include "jobs/write.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/sha256.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "support.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

class WriteJob : public testing::Test {
 protected:
  WriteOptions to(const std::string& name) const {
    WriteOptions options;
    options.model.model = kModel;
    options.model.threads = 2;
    options.output_file = folder_ / name;
    options.ctx_size = 32;
    options.chunks = 6;
    return options;
  }
  static std::string error_of(const WriteOptions& options) {
    return test::error_of([&] { write(options); });
  }
  int n_files() const { return static_cast<int>(std::distance(std::filesystem::directory_iterator(folder_ / ""), {})); }

  static inline const std::string kModel = test::golden("models/llama/model.gguf");
  const test::TempFolder folder_;
};

TEST_F(WriteJob, WritesATextThatCanBeRead) {
  const WriteResult result = write(to("own.text"));
  EXPECT_EQ(result.output_file, folder_ / "own.text");
  const std::string content = test::read_text(result.output_file);
  EXPECT_EQ(result.sha256, sha256(content));
  const tokenizer::Tokenizer tokenizer(gguf::Reader(kModel, gguf::ReadMode::kHeader).metadata());
  const SavedText text = parse_saved_text(content, tokenizer, result.output_file);
  EXPECT_EQ(std::ssize(text.chunks), 6);
  EXPECT_EQ(text.n_ctx, 32);
  WritingOptions written{.seed = 9};
  Json options = text.write;
  EXPECT_EQ(options.erase("excerpts_sha256"), 1u);
  read_json(options, written, "test");
  EXPECT_EQ(to_json(written), to_json(WritingOptions()));
  EXPECT_EQ(result.figures.n_chunks, 6);
  EXPECT_EQ(result.figures.n_tokens, 6 * 32);
  EXPECT_EQ(result.figures.resumed_chunks, 0);
  EXPECT_EQ(n_files(), 1);
  WriteResult read;
  read_json(Json::parse(to_json(result).dump()), read, "test");
  EXPECT_EQ(to_json(read), to_json(result));
}

TEST_F(WriteJob, OptionsGoToJsonAndBack) {
  WriteOptions options = to("own.text");
  options.writing = {.seed = 7, .temp = 0.5, .top_p = 0.9, .chats = 0.1, .excerpts = 0.2, .excerpts_of = "a.txt"};
  options.parallel = 3;
  options.resume.resume = "progress";
  WriteOptions read;
  EXPECT_EQ(read.model.precision, "fast");
  read_json(Json::parse(to_json(options).dump()), read, "test");
  EXPECT_EQ(to_json(read), to_json(options));
  EXPECT_THROW(read_json(Json::parse(R"({"temperature": 1})"), read, "test"), Error);
}

TEST_F(WriteJob, TheSameTextHoweverItIsWritten) {
  const std::string text = write(to("a")).sha256;
  WriteOptions options = to("b");
  options.model.threads = 1;
  options.parallel = 1;
  EXPECT_EQ(write(options).sha256, text);
  options.writing.seed = 1;
  EXPECT_NE(write(options).sha256, text);
}

struct Interrupted {};

TEST_F(WriteJob, ACallbackThatThrowsLeavesWhatCanBeTakenUp) {
  write(to("whole"));
  const auto stop = [](const Progress& progress) {
    EXPECT_EQ(progress.stage, "write");
    EXPECT_EQ(progress.total, 6);
    if (progress.done == 4) throw Interrupted();
  };
  WriteOptions options = to("own.text");
  EXPECT_THROW(write(options, stop), Interrupted);
  EXPECT_EQ(n_files(), 1);
  options.resume = {.resume = folder_ / "progress", .save_every = 0};
  EXPECT_THROW(write(options, stop), Interrupted);
  EXPECT_FALSE(std::filesystem::exists(options.output_file));
  const WriteResult result = write(options);
  EXPECT_EQ(result.figures.resumed_chunks, 3);
  EXPECT_EQ(result.figures.n_tokens, 3 * 32);
  EXPECT_EQ(test::read_text(options.output_file), test::read_text(folder_ / "whole"));
  EXPECT_EQ(n_files(), 2) << "the progress is of no use any more";
}

// Chunks that an earlier run has written and nobody asks for now are neither in the file nor in the figures.
TEST_F(WriteJob, FewerChunksThanEarlier) {
  WriteOptions options = to("own.text");
  options.resume = {.resume = folder_ / "progress", .save_every = 0};
  EXPECT_THROW(write(options,
                     [](const Progress& progress) {
                       if (progress.done == 6) throw Interrupted();
                     }),
               Interrupted);
  options.chunks = 2;
  const WriteResult result = write(options);
  EXPECT_EQ(result.figures.n_chunks, 2);
  EXPECT_EQ(result.figures.resumed_chunks, 2);
  WriteOptions anew = to("anew");
  anew.chunks = 2;
  const WriteResult expected = write(anew);
  EXPECT_EQ(result.sha256, expected.sha256);
  EXPECT_EQ(result.figures.n_texts, expected.figures.n_texts);
}

TEST_F(WriteJob, Refuses) {
  const auto expect = [&](const char* reason, const auto& change) {
    WriteOptions options = to("own.text");
    change(options);
    EXPECT_THAT(error_of(options), HasSubstr(reason));
  };
  expect("--output-file is required", [](auto& options) { options.output_file = ""; });
  expect("absent/own.text: cannot write here",
         [&](auto& options) { options.output_file = folder_ / "absent/own.text"; });
  const std::string copy = folder_ / "copy.gguf";  // a test that fails may cost a file, but not a golden
  std::filesystem::copy_file(kModel, copy);
  expect("is also the input", [&](auto& options) { options.output_file = options.model.model = copy; });
  expect("is also the input", [&](auto& options) { options.resume.resume = options.model.model = copy; });
  std::filesystem::remove(copy);
  for (const int64_t n : {int64_t{0}, int64_t{-1}, INT64_MIN}) {
    expect("--chunks: expected at least 1", [n](auto& options) { options.chunks = n; });
  }
  for (const int64_t n : {int64_t{0}, int64_t{-1}, int64_t{3}, int64_t{257}, INT64_MAX}) {
    expect("a text has 4 to 256 tokens", [n](auto& options) { options.ctx_size = n; });
  }
  expect("--parallel", [](auto& options) { options.parallel = -1; });
  expect("temperature", [](auto& options) { options.writing.temp = -1; });
  expect("top-p", [](auto& options) { options.writing.top_p = 2; });
  expect("--seed", [](auto& options) { options.writing.seed = -2; });
  expect("--chats", [](auto& options) { options.writing.chats = 2; });
  expect("absent.txt: cannot open", [](auto& options) {
    options.writing.excerpts = 0.25;
    options.writing.excerpts_of = "absent.txt";
  });
  expect("cannot open", [](auto& options) { options.model.model = "absent.gguf"; });
  expect("abacus", [](auto& options) { options.model.backend = {"abacus"}; });
  expect("--threads", [](auto& options) { options.model.threads = 100'000; });
  EXPECT_EQ(n_files(), 0);
  // What excerpts are taken from is not written over.
  write_file(folder_ / "excerpts", test::read_text(test::golden("imatrix/text.txt")));
  WriteOptions options = to("excerpts");
  options.writing.excerpts = 0.5;
  options.writing.excerpts_of = options.output_file;
  EXPECT_THAT(error_of(options), HasSubstr("is also the input"));
}

TEST_F(WriteJob, ARandomSeedIsInTheText) {
  const auto seed_of = [&](const std::string& name) {
    WriteOptions options = to(name);
    options.writing.seed = -1;
    write(options);
    const tokenizer::Tokenizer tokenizer(gguf::Reader(kModel, gguf::ReadMode::kHeader).metadata());
    return parse_saved_text(test::read_text(options.output_file), tokenizer, "t").write.at("seed").get<int64_t>();
  };
  const int64_t seed = seed_of("a.text");
  EXPECT_GE(seed, 0);
  EXPECT_NE(seed_of("b.text"), seed);
  WriteOptions again = to("c.text");
  again.writing.seed = seed;
  write(again);
  EXPECT_EQ(test::read_text(folder_ / "c.text"), test::read_text(folder_ / "a.text"));
  again.writing.seed = -1;
  again.resume.resume = folder_ / "progress";
  EXPECT_THAT(error_of(again), HasSubstr("--seed -1 and --resume cannot be combined"));
  again.writing.seed = -2;
  EXPECT_THAT(error_of(again), HasSubstr("--seed must be at least 0, or -1"));
}

}  // namespace
}  // namespace steelyard::jobs
