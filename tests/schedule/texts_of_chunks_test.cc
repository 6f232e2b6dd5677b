// Chunks that hold several texts: a sweep gives each text the hidden states that it has in a chunk of its own.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "gguf/reader.h"
#include "schedule/layer_sweep.h"
#include "support.h"

namespace steelyard::schedule {
namespace {

std::vector<int32_t> ids_of(int64_t chunk) {
  std::vector<int32_t> ids(16);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>((17 * static_cast<size_t>(chunk) + 5 * i) % 200);
  return ids;
}

// Counts rows.
struct Rows : compute::MatmulObserver {
  void dense(compute::Backend&, const compute::Weight&, int64_t, compute::Matrix x) override { n += x.rows; }
  void experts(compute::Backend&, const compute::Weight&, compute::Matrix, const compute::Routing&) override {}
  int64_t n = 0;
};

void run_layer(LayerSweep& sweep, int i) {
  compute::MatmulObserver* const nobody = nullptr;
  sweep.run_layers(i, std::span(&nobody, 1));
}

// Where the texts of a chunk begin: one, several, two of one token each, many.
const std::vector<int64_t> kStarts[] = {{0}, {0, 5, 14}, {0, 1, 15}, {0, 2, 4, 6, 8, 10, 12, 14}, {0, 14}};
constexpr int64_t kChunks = std::ssize(kStarts);

std::span<const int64_t> starts_of(int64_t chunk) { return kStarts[chunk]; }

// The hidden states of chunks [first, end) after the last layer, a row for each token.
std::vector<std::vector<float>> sweep_rows(const model::Model& model, LayerSweep& sweep, int64_t first, int64_t end) {
  sweep.start(first, end - first);
  while (sweep.next_layer() < model.n_layers()) run_layer(sweep, sweep.next_layer());
  std::vector<std::vector<float>> rows;
  const int64_t width = model.config().hidden_width();
  sweep.save([&](std::span<const float> values) {
    for (auto at = values.begin(); at != values.end(); at += width) rows.emplace_back(at, at + width);
  });
  return rows;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    largest = difference <= largest ? largest : difference;  // NaN stays
  }
  return largest;
}

class TextsOfChunks : public testing::TestWithParam<const char*> {
 protected:
  // Texts in chunks of their own.
  std::vector<std::vector<float>> alone() {
    std::vector<std::vector<float>> rows;
    n_of_text_.clear();
    for (int64_t chunk = 0; chunk < kChunks; ++chunk) {
      const std::vector<int32_t> ids = ids_of(chunk);
      const std::vector<int64_t>& starts = kStarts[chunk];
      for (size_t i = 0; i < starts.size(); ++i) {
        const int64_t end = i + 1 < starts.size() ? starts[i + 1] : 16;
        const std::vector<int32_t> text(ids.begin() + starts[i], ids.begin() + end);
        LayerSweep sweep(*model_, std::ssize(text), [&](int64_t) { return text; });
        for (const std::vector<float>& row : sweep_rows(*model_, sweep, 0, 1)) rows.push_back(row);
        n_of_text_.insert(n_of_text_.end(), text.size(), std::ssize(text));
      }
    }
    return rows;
  }
  std::vector<std::vector<float>> together(SweepOptions options) const {
    options.starts = starts_of;
    LayerSweep sweep(*model_, 16, ids_of, options);
    return sweep_rows(*model_, sweep, 0, kChunks);
  }
  // Texts of one token, alone in a batch, meet other kernels. Pooled positions follow as many rows as a cache has for
  // recent ones, which is less in a chunk of the text's own: so the keys of a sum come in other tiles.
  bool exact_on_cpu(int64_t n_tokens) const {
    const auto pools = [](const model::LayerConfig& layer) {
      return layer.attention.mixer == model::Mixer::kCompressed;
    };
    return n_tokens > 1 && std::ranges::none_of(model_->config().layers, pools);
  }
  // Bit by bit on the reference, and mostly on the CPU.
  void expect_same(const std::vector<std::vector<float>>& found, const std::vector<std::vector<float>>& expected,
                   bool exact = true) {
    ASSERT_EQ(found.size(), expected.size());
    for (size_t r = 0; r < found.size(); ++r) {
      const double tolerance = exact && (exact_on_cpu(n_of_text_[r]) || backend_->name() == "ref") ? 0 : kTolerance;
      EXPECT_LE(distance(found[r], expected[r]), tolerance) << "token " << r % 16 << " of chunk " << r / 16;
    }
  }
  static constexpr double kTolerance = 5e-4;

  const gguf::Reader reader_{test::golden(std::string("models/") + GetParam() + "/model.gguf")};
  std::unique_ptr<compute::Backend> backend_ = compute::make_backend("cpu");
  std::optional<model::Model> model_{std::in_place, reader_, *backend_};
  std::vector<int64_t> n_of_text_;  // tokens of each token's text
};

INSTANTIATE_TEST_SUITE_P(Models, TextsOfChunks,
                         testing::Values("llama", "gpt-oss", "gemma3", "qwen3moe", "qwen3next", "qwen35moe",
                                         "deepseek2", "deepseek2_yarn", "deepseek4", "deepseek4_long", "glm5-next",
                                         "qwen4exp", "lfm2moe", "nemotron_h_moe", "kimi-linear"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST_P(TextsOfChunks, AreAsInChunksOfTheirOwn) {
  const auto expected = alone();
  for (const int64_t n_batch : {16, 48, 2048}) expect_same(together({.n_batch = n_batch}), expected);
  // Read as one text, a chunk differs from its second text on.
  LayerSweep one_text(*model_, 16, ids_of);
  const auto rows = sweep_rows(*model_, one_text, 0, kChunks);
  for (size_t r = 0; r < rows.size(); ++r) {
    const auto first_start = kStarts[r / 16].size() > 1 ? kStarts[r / 16][1] : 16;
    EXPECT_EQ(distance(rows[r], expected[r]) > 1e-2, static_cast<int64_t>(r % 16) >= first_start) << r;
  }
}

// Batches end within texts, at their ends, and in those of one token. The reference has the same bits in any batch.
TEST_P(TextsOfChunks, InBatchesThatAreAPartOfAChunk) {
  for (const char* backend : {"cpu", "ref"}) {
    model_.reset();
    backend_ = compute::make_backend(backend);
    model_.emplace(reader_, *backend_);
    const auto expected = alone();
    for (const int64_t n_batch : {1, 3, 7, 14, 15}) {
      SCOPED_TRACE("batches of " + std::to_string(n_batch) + " on " + backend);
      expect_same(together({.n_batch = n_batch}), expected, /*exact=*/backend_->name() == "ref");
    }
  }
}

TEST_P(TextsOfChunks, InPartsOfLayersAndWatched) {
  const auto expected = alone();
  LayerSweep sweep(*model_, 16, ids_of, {.n_batch = 48, .keep_layers = true, .starts = starts_of});
  sweep.start(0, kChunks);
  Rows watcher;
  for (int i = 0; i < model_->n_layers(); ++i) {
    const model::Layer layer = model_->layer(i, 16);
    sweep.watch(layer, model::LayerPart::kWhole, 1, 3, watcher);
    sweep.advance(layer, model::LayerPart::kMixer);
    sweep.advance(layer, model::LayerPart::kFfn);
  }
  EXPECT_GT(watcher.n, 0);
  std::vector<std::vector<float>> found;
  sweep.save([&](std::span<const float> values) {
    for (auto at = values.begin(); at != values.end(); at += model_->config().hidden_width())
      found.emplace_back(at, at + model_->config().hidden_width());
  });
  expect_same(found, expected);
}

// Starts are those of the chunk, wherever it is in the window and in a batch that others have left.
TEST_P(TextsOfChunks, OfOtherWindowsAndWithoutBrokenChunks) {
  const auto expected = alone();
  LayerSweep sweep(*model_, 16, ids_of, {.n_batch = 64, .starts = starts_of});
  sweep.start(1, 3);
  sweep.leave_out(1);
  while (sweep.next_layer() < model_->n_layers()) run_layer(sweep, sweep.next_layer());
  int64_t chunk = 1;
  sweep.save([&](std::span<const float> values) {
    for (int64_t t = 0; chunk > 1 && t < 16; ++t) {
      const auto at = values.begin() + t * model_->config().hidden_width();
      const auto r = static_cast<size_t>(chunk * 16 + t);
      const std::vector<float> row(at, at + model_->config().hidden_width());
      EXPECT_LE(distance(row, expected[r]), exact_on_cpu(n_of_text_[r]) ? 0 : kTolerance) << chunk << ", " << t;
    }
    ++chunk;
  });
}

}  // namespace
}  // namespace steelyard::schedule
