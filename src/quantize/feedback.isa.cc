// Compiled once per instruction set (cmake/isa.cmake): error feedback with the steps of an Encoder.
#include "formats/feedback_tile.h"
#include "quantize/feedback_kernel.h"

namespace steelyard::inline STEELYARD_ISA {
namespace {

class EncoderSteps {
 public:
  using Scales = AnyScales;
  static constexpr int kMaxBlockLen = steelyard::kMaxBlockLen, kMaxJoint = steelyard::kMaxJoint;

  explicit EncoderSteps(const Format& format) : format_(format), encoder_(*format.encoder) {}

  int block_len() const { return format_.block_len; }
  int block_bytes() const { return format_.block_bytes; }
  int joint() const { return encoder_.joint; }
  int sub_block() const { return encoder_.sub_block; }
  bool rescales() const { return encoder_.rescale != nullptr; }

  void fit(const float* x, const float* w, Effort effort, Scales& scales, uint32_t* codes) const {
    encoder_.fit(x, w, effort, scales.bytes, codes);
  }
  uint32_t round(const float* x, const float* w, const Scales& scales, int position, float* values) const {
    return encoder_.round(x, w, scales.bytes, position, values);
  }
  void rescale(const float* x, const float* w, int position, Effort effort, Scales& scales) const {
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
  const Format& format_;
  const Encoder& encoder_;
};

void encode(const Format& format, const FeedbackInputs& inputs, const float* rows, int64_t n_rows,
            const FeedbackMemory<AnyScales>& memory, std::byte* out) {
  FeedbackTile<EncoderSteps, kFeedbackRows, 1>(EncoderSteps(format), inputs, rows, n_rows, memory)
      .encode(out, inputs.n / format.block_len * format.block_bytes);
}

}  // namespace

extern const FeedbackKernel kFeedbackKernel = encode;

}  // namespace steelyard::inline STEELYARD_ISA
