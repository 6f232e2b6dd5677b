// A model small enough that whole evaluations take milliseconds, with everything an evaluation of it needs.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>

#include "evaluate/evaluation.h"
#include "gguf/reader.h"
#include "support.h"

namespace steelyard::evaluate {

struct TinyRun {
  explicit TinyRun(const std::string& path = test::golden("models/deepseek2/model.gguf"), int64_t n_chunks = 8)
      : reader(path),
        backend(compute::make_backend("cpu")),
        model(reader, *backend),
        tokenizer(reader.metadata()),
        identity(model_identity(reader, model.config(), tokenizer)),
        chunks(tokenize_file(tokenizer, test::golden("imatrix/text.txt"), false), 64, n_chunks, chunk_bos(tokenizer),
               "text") {}

  EvaluationResult run(
      const EvaluationOptions& options, const DivergenceBase* base = nullptr,
      const EvaluationProgress& progress = [](auto) {}) const {
    EvaluationResult result = evaluate(model, identity, chunks, base, options, progress);
    result.progress.remove();
    return result;
  }
  void write_base(const std::string& path, BaseLayout layout) const {
    EvaluationOptions options;
    options.sweep.n_batch = 256;
    options.base_path = path;
    options.write_base = true;
    options.layout = layout;
    run(options);
  }

  gguf::Reader reader;
  std::unique_ptr<compute::Backend> backend;
  model::Model model;
  tokenizer::Tokenizer tokenizer;
  ModelIdentity identity;
  tokenizer::Chunks chunks;
};

/// However an evaluation came about, its scores are the same to the last bit.
inline void expect_same_bits(const EvaluationResult& a, const EvaluationResult& b) {
  ASSERT_EQ(a.scores.size(), b.scores.size());
  EXPECT_EQ(std::memcmp(a.scores.data(), b.scores.data(), a.scores.size() * sizeof(TokenScore)), 0);
  ASSERT_EQ(a.routers.size(), b.routers.size());
  EXPECT_EQ(std::memcmp(a.routers.data(), b.routers.data(), a.routers.size() * sizeof(RouterCounts)), 0);
}

}  // namespace steelyard::evaluate
