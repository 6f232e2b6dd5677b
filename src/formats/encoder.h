// The interface of every encoder: fit, round, pack.
//
//   fit    chooses a block's scales and minima, as they will be stored, and the codes that go with them;
//   round  rounds the 1, 4 or 8 weights that the format codes jointly to the best codeword under those scales;
//   pack   writes scales and codes as block bytes.
//
// Plain encoding (encode_row) is: objective, fit, pack. Error feedback fits when it reaches a block, rescales when it
// reaches a sub-block, and rounds a group at a time, all with the weights corrected so far.
#pragma once

#include <cstddef>
#include <cstdint>

namespace steelyard::formats {

/// Upper bounds over all formats, so that callers can keep scratch on the stack.
inline constexpr int kMaxBlockLen = 256;
inline constexpr int kMaxScalesBytes = 256;
inline constexpr int kMaxVectorDim = 8;

/// Part of a block's mean weight that is added to each weight. A column can have a million times the importance of the
/// others. It must not decide the scales that it shares with them alone.
inline constexpr float kWeightFloor = 1e-2f;

/// How much an encoder searches for less error. docs/quantize.md describes the levels, docs/results/encoders.md has the
/// gains.
enum class Effort { kFast, kNormal, kBest };

/// Type-erased encoder of one format; made by codec.h from the format's traits struct. Everything is deterministic,
/// allocation-free and thread-free: the caller owns parallelism.
///
/// x: the block's values, finite, [block_len]. w: objective weights >= 0, [block_len].
struct Encoder {
  int vector_dim;  ///< values per codeword: 1, 4 or 8
  int sub_block;   ///< values that have a scale of their own under what the block shares; block_len where there is none

  /// Weights of the squared error that fit and round minimise, from the importance of each column (mean of squared
  /// activations, >= 0; null when unknown). x, importance, w: [block_len].
  void (*objective)(const float* x, const float* importance, float* w);

  /// Chooses scales and codes [block_len / vector_dim] for the block. `scales` points to kMaxScalesBytes bytes, 16-byte
  /// aligned, opaque to the caller.
  void (*fit)(const float* x, const float* w, Effort effort, void* scales, uint32_t* codes);

  /// Best codeword for values position .. position + vector_dim - 1; x and w point at the first of them. Writes the
  /// decoded values to `values` [vector_dim] and returns the code. Ties go to the lowest code.
  uint32_t (*round)(const float* x, const float* w, const void* scales, int position, float* values);

  /// Chooses again the scale of the sub-block that begins at `position`, as it will be stored. What the sub-blocks
  /// share stays unchanged. x, w: [sub_block]. Null where sub_block is block_len.
  void (*rescale)(const float* x, const float* w, int position, Effort effort, void* scales);

  /// Improves `scales` for given codes [block_len / vector_dim], within what can be stored. Never makes the weighted
  /// error worse. May be a no-op.
  void (*refit)(const float* x, const float* w, const uint32_t* codes, void* scales);

  /// Writes the block. Decoding it gives exactly the values that round returned for these scales and codes.
  void (*pack)(const void* scales, const uint32_t* codes, std::byte* block);

  /// Plain encoding of n_blocks consecutive blocks. importance: [n_blocks * block_len] or null. A block of zeros
  /// becomes zero bytes, which every type decodes to zeros.
  void (*encode_row)(const float* x, const float* importance, int64_t n_blocks, Effort effort, std::byte* out);
};

}  // namespace steelyard::formats
