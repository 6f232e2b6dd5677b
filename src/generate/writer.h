// A model writes text by itself: chunks of a fixed number of tokens, many at a time. A chunk is one text or several,
// one after the other, each written from an empty context: where the model ends a text early or begins to repeat
// itself, the next text begins.
//
// Chunk c is a function of the model, the options and c. It depends neither on the number of threads nor, on the CPU,
// on how many chunks are written at a time, so that a run can be continued after any chunk.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "generate/batch_decoder.h"
#include "generate/beginnings.h"
#include "generate/sampler.h"

namespace steelyard::generate {

struct WriterOptions {
  int64_t n_ctx = 512;     ///< tokens of a chunk
  int64_t at_a_time = 64;  ///< chunks
  SamplingOptions sampling = {
      .temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0};  ///< its seed is that of all chunks
};

struct WrittenChunk {
  std::vector<tokenizer::TokenId> ids;  ///< [n_ctx]
  std::vector<int64_t> starts;          ///< where texts begin, ascending from 0
  int64_t n_ended = 0;                  ///< texts that the model ended
  int64_t n_looped = 0;                 ///< texts that were cut because they repeated themselves
  int64_t n_dropped = 0;                ///< tokens of loops that were cut off
};

/// Writes chunks [begin, end) and passes them on in this order. Error for options out of range, for what BatchDecoder
/// refuses, and for logits that are not finite.
void write_chunks(const model::Model& model, const tokenizer::Tokenizer& tokenizer, const Beginnings& beginnings,
                  const WriterOptions& options, int64_t begin, int64_t end,
                  const std::function<void(int64_t chunk, WrittenChunk written)>& pass);

}  // namespace steelyard::generate
