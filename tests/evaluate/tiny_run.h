// A model small enough that whole evaluations take milliseconds, with everything an evaluation of it needs.
#pragma once

#include <memory>
#include <string>

#include "evaluate/evaluation.h"
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

}  // namespace steelyard::evaluate
