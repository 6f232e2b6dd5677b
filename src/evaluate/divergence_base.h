// A base model's log-probabilities on disk, in either of two layouts (docs/perplexity.md): llama-perplexity's, all
// tokens in 16 bits each (llama_base), and ours, the likely tokens and a sample of the others (compact_base).
//
// Invariant: the header is checked when a base is opened, and every row when it is used.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "evaluate/model_identity.h"
#include "evaluate/score.h"
#include "evaluate/token_score.h"

namespace steelyard::evaluate {

class DivergenceBase {
 public:
  virtual ~DivergenceBase() = default;

  /// Recognises the layout. Error when `path` is not a base file, is truncated, or its counts do not fit its length.
  static std::unique_ptr<DivergenceBase> open(const std::string& path);

  /// Error unless the base was made with this vocabulary, context, scored positions and text (at least as many chunks).
  virtual void require(const tokenizer::Chunks& chunks, const ModelIdentity& model) const;

  /// Scores row x [n_vocab] at scored position `index` of a chunk, whose next token is `target`. May be called from
  /// several threads at once. Error when the base's row is damaged.
  virtual TokenScore compare(int64_t chunk, int64_t index, tokenizer::TokenId target,
                             std::span<const float> x) const = 0;

  /// Tokens that target() names, at most.
  virtual int64_t n_targets() const = 0;
  /// The distribution at a scored position as compute::TargetRows: probabilities [n_targets] of tokens that are named
  /// once each, -1 for none. Error when the base's row is damaged.
  virtual void target(int64_t chunk, int64_t index, std::span<int32_t> tokens, std::span<float> probs) const = 0;

  /// The layers whose choices of experts the base has; without layers it has none.
  virtual const ExpertShape& experts() const = 0;
  /// The choices at a scored position [n_layers, n_used], ascending within a layer. Error when they are damaged.
  virtual std::vector<uint16_t> choices(int64_t chunk, int64_t index) const = 0;

  /// A chunk's rows will not be needed again: releases their memory to the kernel.
  void release(int64_t chunk) const;

  const std::string& path() const { return file_.path(); }
  int64_t n_ctx() const { return n_ctx_; }
  int64_t n_vocab() const { return n_vocab_; }
  int64_t n_chunks() const { return n_chunks_; }
  /// Scored positions per chunk.
  int64_t n_scored() const { return n_ctx_ - 1 - first_scored_; }
  int64_t first_scored() const { return first_scored_; }
  /// What the job that made it wants to know again, and nobody here reads (EvaluationOptions::note); empty: nothing.
  virtual std::string note() const { return ""; }
  /// SHA-256 of its length and first MiB: identifies the base.
  std::string digest() const;
  /// The text that the base was made with [n_chunks * n_ctx].
  std::vector<tokenizer::TokenId> tokens() const;

 protected:
  explicit DivergenceBase(MappedFile file) : file_(std::move(file)) {}

  /// Takes the counts of a header, all unchecked, and the offset where the tokens begin. Error unless the file holds
  /// the tokens, `between` more bytes, and all rows of `row_bytes`. first_scored: -1 where the header has none, half of
  /// the context.
  void set_counts(int64_t n_ctx, int64_t n_vocab, int64_t n_chunks, int64_t first_scored = -1);
  void check_length(uint64_t tokens_begin, uint64_t between, uint64_t row_bytes);
  std::span<const std::byte> bytes() const { return file_.bytes(); }
  std::span<const std::byte> row(int64_t chunk, int64_t index) const;

 private:
  MappedFile file_;
  int64_t n_ctx_ = 0, n_vocab_ = 0, n_chunks_ = 0, first_scored_ = 0;
  uint64_t tokens_begin_ = 0, rows_begin_ = 0, row_bytes_ = 0;
};

enum class BaseLayout { kCompact, kLlama };

/// Makes the rows of a base file, wherever they are scored.
class DivergenceBaseEncoder {
 public:
  virtual ~DivergenceBaseEncoder() = default;

  /// `chunks` and `model` outlive it.
  static std::unique_ptr<DivergenceBaseEncoder> create(BaseLayout layout, const tokenizer::Chunks& chunks,
                                                       const ModelIdentity& model);

  /// Their bytes in the file, valid until the next call.
  virtual std::span<const std::byte> encode(const ScoredLogits& rows) = 0;
};

/// Writes a base file row by row, in the order of score_chunks.
class DivergenceBaseWriter {
 public:
  virtual ~DivergenceBaseWriter() = default;

  /// note: for the compact layout only. resume: the file can be continued after an interruption; its size is the length
  /// that an earlier writer last made durable.
  static std::unique_ptr<DivergenceBaseWriter> create(BaseLayout layout, const std::string& path,
                                                      const tokenizer::Chunks& chunks, const ModelIdentity& model,
                                                      std::optional<AtomicFile::Resume> resume,
                                                      const std::string& note = "");

  /// Of the next rows, as an encoder made them.
  void append(std::span<const std::byte> rows) { file_->append(rows); }

  /// Bytes that are on the disk now.
  uint64_t make_durable();
  /// The run's progress says so: a later run can go on.
  void keep() { file_->keep(); }
  void finish() { file_->finish(); }

 protected:
  DivergenceBaseWriter(const std::string& path, std::optional<AtomicFile::Resume> resume);
  AtomicFile& file() { return *file_; }

 private:
  std::unique_ptr<AtomicFile> file_;
};

}  // namespace steelyard::evaluate
