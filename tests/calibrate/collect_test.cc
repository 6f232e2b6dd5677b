// How collection goes over a text: the order of iteration, spilling, interruption and broken chunks leave no trace in
// the result; rounds end when every expert has seen enough; prediction blocks have data.
#include "calibrate/collect.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/sha256.h"
#include "gguf/reader.h"
#include "model_copy.h"
#include "support.h"
#include "thread_ranks.h"

namespace steelyard::calibrate {
namespace {

class Collect : public testing::Test {
 protected:
  void open(const std::string& path) {
    model_.reset();
    reader_.emplace(path);
    model_.emplace(*reader_, *backend_);
  }

  // Tokens without meaning, below the golden models' smallest vocabulary.
  static tokenizer::Chunks chunks(int64_t n_chunks, int64_t n_ctx = 32) {
    std::vector<tokenizer::TokenId> ids(static_cast<size_t>(n_chunks * n_ctx));
    uint32_t state = 1;
    for (tokenizer::TokenId& id : ids) {
      state = state * 1664525 + 1013904223;
      id = static_cast<tokenizer::TokenId>((state >> 16) % 250);
    }
    return tokenizer::Chunks(std::move(ids), n_ctx, 0, std::nullopt, "ids");
  }

  CollectResult collect(const tokenizer::Chunks& chunks, const CollectOptions& options) {
    return collect_imatrix(*model_, chunks, options, [](auto...) {});
  }

  static CollectOptions in_order(bool layer_major) {
    CollectOptions options;
    options.with_output = true;
    options.sweep.keep_layers = !layer_major;
    options.sweep.n_batch = 96;  // three chunks
    return options;
  }

  static void expect_equal(const imatrix::Imatrix& a, const imatrix::Imatrix& b) {
    ASSERT_EQ(a.entries.size(), b.entries.size());
    EXPECT_EQ(a.chunk_count, b.chunk_count);
    for (const auto& [name, entry] : a.entries) {
      EXPECT_EQ(entry.in_sum2, b.entries.at(name).in_sum2) << name;
      EXPECT_EQ(entry.counts, b.entries.at(name).counts) << name;
    }
  }

  std::unique_ptr<compute::Backend> backend_ = compute::make_backend("cpu");
  std::optional<gguf::Reader> reader_;
  std::optional<model::Model> model_;
  test::TempFolder folder_;
};

TEST_F(Collect, OrderAndSpillingDoNotMatter) {
  for (const char* name : {"deepseek2", "glm4moe", "qwen3next", "gemma3", "lfm2moe", "nemotron_h_moe", "kimi-k3"}) {
    SCOPED_TRACE(name);
    open(test::golden(std::string("models/") + name + "/model.gguf"));
    const tokenizer::Chunks text = chunks(7);
    const imatrix::Imatrix expected = collect(text, in_order(false)).imatrix;
    EXPECT_EQ(expected.chunk_count, 7);
    CollectOptions options = in_order(true);
    expect_equal(collect(text, options).imatrix, expected);
    options.sweep.scratch_folder = folder_ / "";
    options.sweep.hidden_state_bytes = 0;
    expect_equal(collect(text, options).imatrix, expected);
    options.sweep.hidden_state_bytes = static_cast<uint64_t>(2 * 32 * model_->config().n_embd) * sizeof(float);
    expect_equal(collect(text, options).imatrix, expected);
  }
}

// A part of a chunk at a time: other products, the same figures.
TEST_F(Collect, BatchesSmallerThanAChunk) {
  open(test::golden("models/glm4moe/model.gguf"));
  const tokenizer::Chunks text = chunks(3);
  const imatrix::Imatrix expected = collect(text, in_order(false)).imatrix;
  CollectOptions options = in_order(true);
  options.sweep.n_batch = 20;
  const imatrix::Imatrix actual = collect(text, options).imatrix;
  for (const auto& [name, entry] : expected.entries) {
    EXPECT_EQ(entry.counts, actual.entries.at(name).counts) << name;
    for (size_t i = 0; i < entry.in_sum2.size(); ++i) {
      ASSERT_NEAR(actual.entries.at(name).in_sum2[i], entry.in_sum2[i], 1e-4 * entry.in_sum2[i] + 1e-9) << name;
    }
  }
}

TEST_F(Collect, PredictionBlocksHaveData) {
  open(test::golden("models/glm4moe/model.gguf"));
  ASSERT_EQ(model_->n_predictions(), 1);
  const imatrix::Imatrix imatrix = collect(chunks(4), in_order(true)).imatrix;
  for (const gguf::TensorInfo& tensor : reader_->tensors()) {
    if (tensor.n_dims < 2 || tensor.name == "token_embd.weight") continue;
    ASSERT_TRUE(imatrix.entries.contains(tensor.name)) << tensor.name;
    const imatrix::ImatrixEntry& entry = imatrix.entries.at(tensor.name);
    EXPECT_GT(*std::ranges::max_element(entry.in_sum2), 0) << tensor.name;
  }
  // The last token of a chunk has no successor to join.
  EXPECT_EQ(imatrix.entries.at("blk.2.nextn.eh_proj.weight").counts.at(0), 4 * 31);
  // Both halves are normed: enorm's and hnorm's.
  const auto& joined = imatrix.entries.at("blk.2.nextn.eh_proj.weight").in_sum2;
  EXPECT_EQ(joined.size(), static_cast<size_t>(2 * model_->config().n_embd));
}

// A token whose embedding is broken: its chunk leaves no trace, the others are as if it had not been there.
TEST_F(Collect, BrokenChunksAreLeftOut) {
  const std::string golden = test::golden("models/glm4moe/model.gguf"), broken = folder_ / "broken.gguf";
  open(golden);
  std::vector<tokenizer::TokenId> ids(4 * 32), without;
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<tokenizer::TokenId>(i % 50);
  ids[40] = 200;  // in the second chunk
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i / 32 != 1) without.push_back(ids[i]);
  }
  CollectOptions options = in_order(true);
  options.sweep.n_batch = 32;
  const imatrix::Imatrix expected = collect(tokenizer::Chunks(without, 32, 0, std::nullopt, "ids"), options).imatrix;

  test::ModelCopy copy(golden);
  copy.set_value("token_embd.weight", static_cast<size_t>(200 * model_->config().n_embd + 3),
                 std::numeric_limits<float>::quiet_NaN());
  copy.save(broken);
  open(broken);
  for (const bool layer_major : {false, true}) {
    CollectOptions one = in_order(layer_major);
    one.sweep.n_batch = 32;
    const CollectResult result = collect(tokenizer::Chunks(ids, 32, 0, std::nullopt, "ids"), one);
    ASSERT_EQ(result.broken.size(), 1u);
    EXPECT_EQ(result.broken[0], std::pair(int64_t{1}, -1));
    expect_equal(result.imatrix, expected);
  }
  // Nothing is left: that is no importance.
  EXPECT_THROW(
      collect(tokenizer::Chunks(std::vector<tokenizer::TokenId>(64, 200), 32, 0, std::nullopt, "ids"), in_order(true)),
      Error);
}

TEST_F(Collect, RoundsFollowUntilExpertsHaveEnough) {
  open(test::golden("models/qwen3moe/model.gguf"));  // whose experts all see something soon
  const tokenizer::Chunks text = chunks(12);
  CollectOptions options = in_order(true);
  options.round = 2;
  const auto least = [&](int64_t n) { return least_expert_tokens(collect(chunks(n), in_order(true)).imatrix.entries); };
  ASSERT_LT(least(2), least(8));
  options.min_expert_tokens = least(8);
  const CollectResult result = collect(text, options);
  EXPECT_GT(result.n_chunks, 2);
  EXPECT_LE(result.n_chunks, 8);
  EXPECT_EQ(result.n_chunks % 2, 0);
  EXPECT_GE(least_expert_tokens(result.imatrix.entries), least(8));
  options.sweep.keep_layers = true;
  expect_equal(collect(text, options).imatrix, result.imatrix);

  options.min_expert_tokens = 1'000'000;
  EXPECT_EQ(collect(text, options).n_chunks, 12);
}

// Stopped after every possible step and gone on with: the same bits.
TEST_F(Collect, GoesOnToTheSameBits) {
  open(test::golden("models/glm4moe/model.gguf"));
  const tokenizer::Chunks text = chunks(8);
  struct Stop {};
  for (const bool layer_major : {false, true}) {
    CollectOptions options = in_order(layer_major);
    options.round = 6;
    options.min_expert_tokens = 1'000'000;
    const imatrix::Imatrix expected = collect(text, options).imatrix;
    options.identity = sha256("run");
    options.progress_path = folder_ / "progress";
    options.save_every = std::chrono::milliseconds(0);
    const int n_steps = layer_major ? 1 : model_->n_layers() + 2;  // progress is kept per layer or per window
    int stops = 0;
    for (bool whole = false; !whole;) {
      int steps = 0;
      try {
        CollectResult result = collect_imatrix(*model_, text, options, [&](auto...) {
          if (++steps > n_steps) throw Stop();  // somewhat further each time
        });
        whole = true;
        EXPECT_TRUE(std::filesystem::exists(options.progress_path)) << "the result is in memory only";
        result.progress.remove();
        expect_equal(result.imatrix, expected);
        EXPECT_TRUE(result.resumed_chunks > 0 || result.resumed_layers > 0);
      } catch (const Stop&) {
        ASSERT_LT(++stops, 20);
      }
    }
    EXPECT_GT(stops, 1);
    EXPECT_FALSE(std::filesystem::exists(options.progress_path));
  }
}

TEST_F(Collect, RefusesOtherProgress) {
  open(test::golden("models/glm4moe/model.gguf"));
  const tokenizer::Chunks text = chunks(4);
  CollectOptions options = in_order(true);
  options.identity = sha256("run");
  options.progress_path = folder_ / "progress";
  options.save_every = std::chrono::milliseconds(0);
  struct Stop {};
  const auto interrupt = [&] {
    int steps = 0;
    EXPECT_THROW(collect_imatrix(*model_, text, options,
                                 [&](auto...) {
                                   if (++steps == 2) throw Stop();
                                 }),
                 Stop);
  };
  interrupt();
  const std::string saved = read_file(options.progress_path);
  options.identity = sha256("another run");
  EXPECT_THROW(collect(text, options), Error);
  options.identity = sha256("run");
  for (const size_t at : {size_t{3}, size_t{80}, saved.size() / 2, saved.size() - 1}) {
    std::string damaged = saved;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    write_file(options.progress_path, damaged);
    EXPECT_THROW(collect(text, options), Error) << at;
    write_file(options.progress_path, saved.substr(0, at));
    EXPECT_THROW(collect(text, options), Error) << at;
  }
  write_file(options.progress_path, saved);
  EXPECT_NO_THROW(collect(text, options));
}

// Batches or layers are dealt out; sums, broken chunks and rounds are those of one process.
class CollectInRanks : public Collect {
 protected:
  // Each rank has a model of its own.
  CollectResult collect_in(
      int n, const std::string& path, const tokenizer::Chunks& chunks, const CollectOptions& options,
      const CollectProgress& progress = [](auto...) {}) {
    CollectResult result;
    test::in_ranks(n, [&](cluster::Ranks& ranks) {
      const std::unique_ptr<compute::Backend> backend = compute::make_backend("cpu");
      const gguf::Reader reader(path);
      const model::Model model(reader, *backend);
      CollectOptions own = options;
      own.sweep.ranks = &ranks;
      CollectResult of_rank =
          collect_imatrix(model, chunks, own, ranks.leads() ? progress : CollectProgress([](auto...) {}));
      if (ranks.leads()) result = std::move(of_rank);
    });
    return result;
  }
};

TEST_F(CollectInRanks, TheSameSums) {
  for (const char* name : {"deepseek2", "glm4moe", "gemma3", "nemotron_h_moe", "kimi-k3"}) {
    SCOPED_TRACE(name);
    const std::string path = test::golden(std::string("models/") + name + "/model.gguf");
    open(path);
    const tokenizer::Chunks text = chunks(7);
    const imatrix::Imatrix expected = collect(text, in_order(false)).imatrix;
    for (const bool layer_major : {false, true}) {
      for (const int n : {2, 3, 5}) {
        CollectOptions options = in_order(layer_major);
        expect_equal(collect_in(n, path, text, options).imatrix, expected);
        options.sweep.scratch_folder = folder_ / "";
        options.sweep.hidden_state_bytes = 0;
        if (n == 2) expect_equal(collect_in(n, path, text, options).imatrix, expected);
      }
    }
  }
}

// An expert is broken, and with it the chunks that come to it.
TEST_F(CollectInRanks, BrokenChunksAreLeftOut) {
  const std::string golden = test::golden("models/glm4moe/model.gguf"), path = folder_ / "broken.gguf";
  test::ModelCopy copy(golden);
  copy.set_value("blk.1.ffn_down_exps.weight", 3, std::numeric_limits<float>::quiet_NaN());
  copy.save(path);
  open(path);
  const tokenizer::Chunks text = chunks(40, /*n_ctx=*/4);
  CollectOptions options = in_order(true);
  options.sweep.n_batch = 12;
  const CollectResult expected = collect(text, options);
  ASSERT_GT(expected.broken.size(), 0u);
  ASSERT_LT(expected.broken.size(), 40u);
  for (const int n : {2, 3}) {
    const CollectResult result = collect_in(n, path, text, options);
    EXPECT_EQ(result.broken, expected.broken);
    expect_equal(result.imatrix, expected.imatrix);
  }
  options.sweep.keep_layers = true;
  const CollectResult alone = collect(text, options), result = collect_in(3, path, text, options);
  EXPECT_EQ(result.broken, alone.broken);
  expect_equal(result.imatrix, alone.imatrix);
}

TEST_F(CollectInRanks, GoOnWithAnotherNumber) {
  struct Interruption {};
  const std::string path = test::golden("models/glm4moe/model.gguf");
  open(path);
  const tokenizer::Chunks text = chunks(15);
  const imatrix::Imatrix expected = collect(text, in_order(true)).imatrix;
  for (const bool layer_major : {false, true}) {
    CollectOptions options = in_order(layer_major);
    options.progress_path = folder_ / "progress";
    options.identity = sha256("run");
    options.save_every = std::chrono::milliseconds(0);
    // Two layers are one step for two ranks.
    for (const int n : layer_major ? std::vector{2} : std::vector{2, 3, 1}) {
      int steps = 0;
      const auto interrupt = [&](int64_t, int64_t, int64_t, int64_t) {
        if (++steps == 2) throw Interruption();
      };
      EXPECT_THROW(collect_in(n, path, text, options, interrupt), Interruption);
    }
    CollectResult result = collect_in(3, path, text, options);
    EXPECT_GT(result.resumed_chunks + result.resumed_layers, 0);
    expect_equal(result.imatrix, expected);
    result.progress.remove();
  }
}

TEST_F(CollectInRanks, RoundsEndAlike) {
  const std::string path = test::golden("models/glm4moe/model.gguf");
  open(path);
  const tokenizer::Chunks text = chunks(12);
  for (const bool layer_major : {false, true}) {
    CollectOptions options = in_order(layer_major);
    options.round = 3;
    options.min_expert_tokens = 20;
    const CollectResult expected = collect(text, options), result = collect_in(2, path, text, options);
    EXPECT_EQ(result.n_chunks, expected.n_chunks);
    expect_equal(result.imatrix, expected.imatrix);
  }
}

}  // namespace
}  // namespace steelyard::calibrate
