// Compiled once per target (cmake/simd.cmake): error feedback for a tile of rows, with the steps of an Encoder.
#include "formats/ldlq_row.h"
#include "quantize/ldlq_kernel.h"
#include "simd/simd.h"

namespace steelyard::quantize::inline STEELYARD_TARGET {
namespace {

using namespace simd;  // verbs, short as in formats/verbs.h

class EncoderSteps {
 public:
  using Scales = AnyScales;
  static constexpr int kMaxBlockLen = formats::kMaxBlockLen, kMaxVectorDim = formats::kMaxVectorDim;

  explicit EncoderSteps(const formats::Format& format) : format_(format), encoder_(*format.encoder) {}

  int block_len() const { return format_.block_len; }
  int block_bytes() const { return format_.block_bytes; }
  int vector_dim() const { return encoder_.vector_dim; }
  int sub_block() const { return encoder_.sub_block; }
  bool rescales() const { return encoder_.rescale != nullptr; }

  void fit(const float* x, const float* w, formats::Effort effort, Scales& scales, uint32_t* codes) const {
    encoder_.fit(x, w, effort, scales.bytes, codes);
  }
  uint32_t round(const float* x, const float* w, const Scales& scales, int position, float* values) const {
    return encoder_.round(x, w, scales.bytes, position, values);
  }
  void rescale(const float* x, const float* w, int position, formats::Effort effort, Scales& scales) const {
    encoder_.rescale(x, w, position, effort, scales.bytes);
  }
  void refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) const {
    encoder_.refit(x, w, codes, scales.bytes);
  }
  void pack(const Scales& scales, const uint32_t* codes, std::byte* block) const {
    encoder_.pack(scales.bytes, codes, block);
  }
  void values(const Scales& scales, const uint32_t* codes, float* out) const {
    std::byte block[kMaxBlockLen * sizeof(float)];
    pack(scales, codes, block);
    format_.decode(block, 1, out);
  }

 private:
  const formats::Format& format_;
  const formats::Encoder& encoder_;
};

// out [kTogether rows, width], kPanelLen apart, += a [kTogether rows, depth], n apart, times b [depth, width]. Every
// element is summed in a register, in the order of `depth`.
template <int kTogether>
void add_products(const float* a, int64_t n, int64_t depth, const float* b, int64_t width, float* out) {
  constexpr int kVectors = 2;
  static_assert(formats::kPanelStep % (kVectors * kLanes) == 0);
  for (int64_t k = 0; k < width; k += kVectors * kLanes) {
    Floats sums[kTogether][kVectors];
    for (int r = 0; r < kTogether; ++r) {
      for (int v = 0; v < kVectors; ++v) sums[r][v] = load(out + r * formats::kPanelLen + k + v * kLanes);
    }
    for (int64_t j = 0; j < depth; ++j) {
      Floats values[kVectors];
      for (int v = 0; v < kVectors; ++v) values[v] = load(b + j * width + k + v * kLanes);
      for (int r = 0; r < kTogether; ++r) {
        for (int v = 0; v < kVectors; ++v) sums[r][v] += a[r * n + j] * values[v];
      }
    }
    for (int r = 0; r < kTogether; ++r) {
      for (int v = 0; v < kVectors; ++v) store(sums[r][v], out + r * formats::kPanelLen + k + v * kLanes);
    }
  }
}

class Tile {
 public:
  Tile(const formats::Format& format, const formats::LdlqInputs& inputs, const float* x, int64_t n_rows,
       const LdlqWorkspace& memory)
      : format_(format), in_(inputs), x_(x), n_rows_(n_rows), memory_(memory) {}

  void encode(std::byte* out) const {
    each_panel([&](const formats::LdlqPanel& panel) {
      multiply(memory_.errors, panel.begin, panel.factor, panel.width);
      for (int64_t r = 0; r < n_rows_; ++r) row(r).round(panel);
    });
    for (int64_t pass = 0; pass < in_.passes; ++pass) {
      each_panel([&](const formats::LdlqPanel& panel) {
        multiply(memory_.errors, in_.n, panel.hessian, panel.width);
        for (int64_t r = 0; r < n_rows_; ++r) row(r).descend(panel);
      });
    }
    double energy[kLdlqTileRows] = {}, projection[kLdlqTileRows] = {};
    each_panel([&](const formats::LdlqPanel& panel) {
      multiply(x_, in_.n, panel.hessian, panel.width);
      for (int64_t r = 0; r < n_rows_; ++r) {
        const int64_t at = r * in_.n + panel.begin;
        formats::accumulate_shrinkage(x_ + at, memory_.errors + at, product(r), panel.width, energy[r], projection[r]);
      }
    });
    const int64_t row_bytes = in_.n / format_.block_len * format_.block_bytes;
    for (int64_t r = 0; r < n_rows_; ++r) {
      row(r).compensate_shrinkage(energy[r], projection[r]);
      row(r).pack(out + r * row_bytes);
    }
  }

 private:
  template <class Body>
  void each_panel(const Body& body) const {
    for (int64_t begin = 0; begin < in_.n; begin += formats::kPanelLen) body(formats::LdlqPanel(in_, begin));
  }

  formats::LdlqRow<EncoderSteps> row(int64_t r) const {
    return {EncoderSteps(format_),
            in_,
            {x_ + r * in_.n, memory_.errors + r * in_.n, product(r), memory_.scales + r * (in_.n / format_.block_len),
             memory_.codes + r * (in_.n / format_.encoder->vector_dim)}};
  }
  float* product(int64_t r) const { return memory_.products + r * formats::kPanelLen; }

  // The products of all rows = a [n_rows, n] times the first `depth` rows of a panel's matrix.
  void multiply(const float* a, int64_t depth, const float* matrix, int64_t width) const {
    constexpr int kTogether = 4;
    constexpr int64_t kRun = 32;  // of the matrix's rows, which stay in the cache for all rows of the tile
    __builtin_memset(memory_.products, 0, sizeof(float) * kLdlqTileRows * formats::kPanelLen);
    for (int64_t j = 0; j < depth; j += kRun) {
      const int64_t run = depth - j < kRun ? depth - j : kRun;
      const float* const b = matrix + j * width;
      int64_t r = 0;
      for (; r + kTogether <= n_rows_; r += kTogether) {
        add_products<kTogether>(a + r * in_.n + j, in_.n, run, b, width, product(r));
      }
      for (; r < n_rows_; ++r) add_products<1>(a + r * in_.n + j, in_.n, run, b, width, product(r));
    }
  }

  const formats::Format& format_;
  const formats::LdlqInputs& in_;
  const float* x_;
  int64_t n_rows_;
  LdlqWorkspace memory_;
};

void encode(const formats::Format& format, const formats::LdlqInputs& inputs, const float* rows, int64_t n_rows,
            const LdlqWorkspace& memory, std::byte* out) {
  Tile(format, inputs, rows, n_rows, memory).encode(out);
}

}  // namespace

extern const LdlqKernel kLdlqKernel = encode;

}  // namespace steelyard::quantize::inline STEELYARD_TARGET
