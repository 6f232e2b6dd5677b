// What the subcommands share: how they register with the parser, and options that several of them take.
//
// A subcommand is one file: declare options, call the library, print. Each add_* registers its options and the callback
// that runs when the subcommand was chosen; the callback throws Error for foreign faults.
#pragma once

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jobs/outputs.h"
#include "model/model.h"
#include "model/placement.h"
#include "options.h"
#include "order_options.h"
#include "tokenizer/chunks.h"

namespace steelyard::tools {

void add_plan(CLI::App& app);
void add_imatrix(CLI::App& app);
void add_quantize(CLI::App& app);
void add_perplexity(CLI::App& app);
void add_run(CLI::App& app);
void add_inspect(CLI::App& app);
void add_bench(CLI::App& app);
void add_fit(CLI::App& app);


/// --cache-type-k and -v.
class CacheTypeOptions {
 public:
  void add_to(CLI::App& command);
  /// Error for unknown types.
  CacheTypes get() const;
  std::string settings() const { return keys_ + " " + values_; }

 private:
  std::string keys_ = "f32", values_ = "f32";
};

/// --tensor-split and --gpu-layers: which layers are on which devices.
class PlacementOptions {
 public:
  void add_to(CLI::App& command);
  /// On devices with so many bytes free each.
  PlacementRequest request(std::vector<uint64_t> rooms) const { return {std::move(rooms), proportions_, n_layers_}; }
  bool given() const { return !proportions_.empty() || n_layers_ != INT32_MAX; }
  std::string settings() const { return fmt::format("{} {}", fmt::join(proportions_, ","), n_layers_); }

 private:
  std::vector<double> proportions_;
  int64_t n_layers_ = INT32_MAX;
};

/// -m, --backend, --devices and where layers are on them, --precision, --threads, --cache-type-k and -v: a model file
/// opened and bound.
class ModelOptions {
 public:
  /// `precision`: what --precision is unless the user says.
  void add_to(CLI::App& command, const std::string& precision = "exact");
  /// Opens file and backends; must be called once, before the accessors. n_context: what memory is shared out for,
  /// where there are several devices; 0: not known. order: of a text that goes through the model, null for none; where
  /// that is layer by layer, devices take layers by turns, which pass batches on at the same time.
  void open(int64_t n_context = 0, const OrderOptions* order = nullptr);

  const std::string& path() const { return path_; }
  /// What of these options changes results in their last digits.
  std::string settings() const;
  const gguf::Reader& reader() const { return *reader_; }
  /// Names of the backends that hold layers.
  std::vector<std::string> backend_names() const;
  const Model& model() const { return *model_; }

 private:
  std::vector<Backend*> place(int64_t n_context, const OrderOptions* order);

  std::string path_;
  std::vector<std::string> backend_names_ = {"cpu"};
  std::vector<int> devices_;
  PlacementOptions placement_;
  std::string precision_;
  CacheTypeOptions cache_types_;
  int threads_ = 0;
  std::optional<gguf::Reader> reader_;
  std::vector<std::unique_ptr<Backend>> backends_;
  std::optional<Model> model_;
};

/// -f, -c, --chunks, --parse-special: text as chunks of tokens.
class TextOptions {
 public:
  void add_to(CLI::App& command);
  /// --ppl-stride as well.
  void add_stride_to(CLI::App& command);
  Chunks chunks(const Tokenizer& tokenizer) const { return chunks(tokenizer, max_chunks_); }
  /// The same with another limit than --chunks.
  Chunks chunks(const Tokenizer& tokenizer, int64_t max_chunks) const;
  const std::string& path() const { return path_; }
  int64_t n_ctx() const { return n_ctx_; }
  int64_t max_chunks() const { return max_chunks_; }
  int64_t stride() const { return stride_; }

 private:
  std::string path_;
  int64_t n_ctx_ = 512;
  int64_t max_chunks_ = 0;
  int64_t stride_ = 0;
  bool parse_special_ = false;
};

/// --resume and --save-every: the progress file of a run over a text.
struct ResumeOptions {
  void add_to(CLI::App& command);
  std::chrono::milliseconds save_every() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::duration<double>(seconds));
  }

  std::string path;  ///< empty: an interruption loses the run
  double seconds = 5;
};

using jobs::check_output;

/// True when stderr is a terminal: progress may rewrite its line.
bool interactive();

}  // namespace steelyard::tools
