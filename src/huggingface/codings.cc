// Layouts: docs/huggingface.md. Floats of 8 bits and FP4 as in "OCP 8-bit Floating Point Specification" 1.0 and "OCP
// Microscaling Formats" 1.0; packed integers as compressed-tensors writes them.
#include "huggingface/codings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/half.h"
#include "formats/published.h"

namespace steelyard::huggingface {
namespace {

using formats::Published, formats::Type;

// All floats of 8 bits: a sign, `exponent_bits`, and the rest a mantissa. E4M3 has one NaN and no infinity.
std::array<float, 256> float8_table(int exponent_bits) {
  std::array<float, 256> table;
  const int mantissa_bits = 7 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
  for (int bits = 0; bits < 256; ++bits) {
    const int exponent = (bits & 0x7F) >> mantissa_bits, mantissa = bits & ((1 << mantissa_bits) - 1);
    const float fraction = static_cast<float>(mantissa) / static_cast<float>(1 << mantissa_bits);
    float value = exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
    if (exponent_bits == 4 && (bits & 0x7F) == 0x7F) value = NAN;
    if (exponent_bits == 5 && exponent == 31) value = mantissa == 0 ? INFINITY : NAN;
    table[static_cast<size_t>(bits)] = bits & 0x80 ? -value : value;
  }
  return table;
}

const std::array<float, 256>& e4m3() {
  static const std::array<float, 256> table = float8_table(4);
  return table;
}

const std::array<float, 256>& e5m2() {
  static const std::array<float, 256> table = float8_table(5);
  return table;
}

// A power of two.
float load_exponent(uint8_t bits) { return bits == 0xFF ? NAN : std::ldexp(1.0f, bits - 127); }

constexpr std::array<float, 16> kE2M1 = {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -.5f, -1, -1.5f, -2, -3, -4, -6};

uint8_t byte_at(const std::byte* data, int64_t i) { return static_cast<uint8_t>(data[i]); }

// Code i of two to a byte, the even one in the low bits.
uint8_t nibble(const std::byte* data, int64_t i) {
  return static_cast<uint8_t>((byte_at(data, i / 2) >> (4 * (i % 2))) & 15);
}

Type type_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF16:
      return Type::F16;
    case Dtype::kBF16:
      return Type::BF16;
    case Dtype::kF8E4M3:
    case Dtype::kF8E5M2:
    case Dtype::kF8E8M0:
      return Type::BF16;  // exact
    case Dtype::kI32:
      return Type::I32;
    default:
      return Type::F32;
  }
}

uint64_t bytes_of(const Stored& stored) { return stored.tensor->end - stored.tensor->begin; }

class Plain final : public StoredWeight {
 public:
  explicit Plain(const Stored& values)
      : StoredWeight(values.tensor->name, *values.tensor, values.tensor->shape, type_of(values.tensor->dtype),
                     bytes_of(values)),
        values_(values) {}

  void decode(int64_t first, int64_t step, int64_t n, float* out) const override {
    for (int64_t i = 0; i < n; ++i) out[i] = values_.value(first + i * step);
  }
  void copy(int64_t first, int64_t n, std::byte* out) const override {
    const uint64_t bytes = value_bytes(values_.tensor->dtype);
    std::memcpy(out, values() + static_cast<uint64_t>(first) * bytes, static_cast<uint64_t>(n) * bytes);
  }
  const std::byte* values() const override {
    const bool same = value_bytes(values_.tensor->dtype) == static_cast<uint64_t>(format(type()).block_bytes) &&
                      values_.tensor->dtype != Dtype::kU32;
    return same ? values_.data : nullptr;
  }

 private:
  Stored values_;
};

class Fp8 final : public StoredWeight {
 public:
  Fp8(const Stored& codes, const Stored& scales, int64_t block_rows, int64_t block_columns)
      : StoredWeight(codes.tensor->name, *codes.tensor, codes.tensor->shape, Type::BF16,
                     bytes_of(codes) + bytes_of(scales)),
        codes_(codes),
        scales_(scales),
        n_in_(shape().back()),
        n_out_(shape().size() > 1 ? shape()[shape().size() - 2] : 1),
        block_rows_(block_rows),
        block_columns_(block_columns),
        scale_rows_((n_out_ + block_rows - 1) / block_rows),
        scale_columns_((n_in_ + block_columns - 1) / block_columns) {}

  void decode(int64_t first, int64_t step, int64_t n, float* out) const override {
    const std::array<float, 256>& values = e4m3();
    for (int64_t i = 0; i < n;) {
      const int64_t at = first + i * step, row = at / n_in_, column = at % n_in_;
      const int64_t slice = row / n_out_, block_row = row % n_out_ / block_rows_,
                    block_column = column / block_columns_;
      const float scale = scales_.value((slice * scale_rows_ + block_row) * scale_columns_ + block_column);
      const int64_t end = std::min(n_in_, (block_column + 1) * block_columns_);  // columns of the same scale
      const int64_t count = std::min(n - i, (end - column + step - 1) / step);
      for (int64_t k = 0; k < count; ++k) out[i + k] = values[byte_at(codes_.data, at + k * step)] * scale;
      i += count;
    }
  }

 private:
  Stored codes_, scales_;
  int64_t n_in_, n_out_, block_rows_, block_columns_, scale_rows_, scale_columns_;
};

// Codes of 4 bits with a scale for each group of a row; n_in, and so every place in it, divides into groups.
class Codes4 : public StoredWeight {
 public:
  Codes4(const std::string& name, const Stored& codes, const Stored& scales, std::vector<int64_t> shape, int64_t group,
         Type type)
      : StoredWeight(name, *codes.tensor, std::move(shape), type, bytes_of(codes) + bytes_of(scales)),
        codes_(codes),
        scales_(scales),
        group_(group) {}

  void decode(int64_t first, int64_t step, int64_t n, float* out) const override {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = first + i * step;
      out[i] = code_value(nibble(codes_.data, at)) * scale(at / group_) * factor();
    }
  }

 protected:
  virtual float code_value(uint8_t code) const { return kE2M1[code]; }
  virtual float scale(int64_t i) const { return scales_.value(i); }

  // Codes [begin, begin + 2 * half) as GGUF pairs them: value i with value i + half.
  void pair(int64_t begin, int64_t half, std::byte* out) const {
    for (int64_t i = 0; i < half; ++i)
      out[i] = std::byte(nibble(codes_.data, begin + i) | nibble(codes_.data, begin + half + i) << 4);
  }

  Stored codes_, scales_;
  int64_t group_;
};

class Mxfp4 final : public Codes4 {
 public:
  using Codes4::Codes4;
  void copy(int64_t first, int64_t n, std::byte* out) const override {
    for (int64_t at = first; at < first + n; at += group_, out += 17) {
      out[0] = scales_.data[at / group_];
      pair(at, 16, out + 1);
    }
  }

 protected:
  float scale(int64_t i) const override { return load_exponent(byte_at(scales_.data, i)); }
};

class Nvfp4 final : public Codes4 {
 public:
  Nvfp4(const std::string& name, const Stored& codes, const Stored& scales, std::vector<int64_t> shape, float factor)
      : Codes4(name, codes, scales, std::move(shape), 16, type_of(Published::kNvfp4)), factor_(factor) {}
  void copy(int64_t first, int64_t n, std::byte* out) const override {
    for (int64_t at = first; at < first + n; at += 64, out += 36) {
      std::memcpy(out, scales_.data + at / group_, 4);
      for (int64_t k = 0; k < 4; ++k) pair(at + 16 * k, 8, out + 4 + 8 * k);
    }
  }
  float factor() const override { return factor_; }
  bool has_factor() const override { return true; }

 private:
  float factor_;
};

class Int4 final : public Codes4 {
 public:
  using Codes4::Codes4;
  // Blocks of 32 with the scale as a half: exact but for scales far below those of weights.
  void copy(int64_t first, int64_t n, std::byte* out) const override {
    for (int64_t at = first; at < first + n; at += 32, out += 18) {
      const Half half = to_half(scale(at / group_));
      std::memcpy(out, &half, sizeof half);
      pair(at, 16, out + 2);
    }
  }

 protected:
  float code_value(uint8_t code) const override { return static_cast<float>(code - 8); }
};

}  // namespace

void StoredWeight::copy(int64_t, int64_t, std::byte*) const { STEELYARD_CHECK(false); }

float load_value(Dtype dtype, const std::byte* from) {
  switch (dtype) {
    case Dtype::kF64:
      return static_cast<float>(load_number<double>(from));
    case Dtype::kF32:
      return load_number<float>(from);
    case Dtype::kF16:
      return to_float(Half{load_number<uint16_t>(from)});
    case Dtype::kBF16:
      return to_float(BFloat16{load_number<uint16_t>(from)});
    case Dtype::kF8E4M3:
      return e4m3()[byte_at(from, 0)];
    case Dtype::kF8E5M2:
      return e5m2()[byte_at(from, 0)];
    case Dtype::kF8E8M0:
      return load_exponent(byte_at(from, 0));
    case Dtype::kI64:
      return static_cast<float>(load_number<int64_t>(from));
    case Dtype::kI32:
      return static_cast<float>(load_number<int32_t>(from));
    case Dtype::kI16:
      return static_cast<float>(load_number<int16_t>(from));
    case Dtype::kI8:
      return static_cast<float>(load_number<int8_t>(from));
    case Dtype::kU64:
      return static_cast<float>(load_number<uint64_t>(from));
    case Dtype::kU32:
      return static_cast<float>(load_number<uint32_t>(from));
    case Dtype::kU16:
      return static_cast<float>(load_number<uint16_t>(from));
    case Dtype::kU8:
    case Dtype::kBool:
      return static_cast<float>(byte_at(from, 0));
  }
  return 0;
}

std::unique_ptr<StoredWeight> make_plain(const Stored& values) { return std::make_unique<Plain>(values); }

std::unique_ptr<StoredWeight> make_fp8(const Stored& codes, const Stored& scales, int64_t block_rows,
                                       int64_t block_columns) {
  return std::make_unique<Fp8>(codes, scales, block_rows, block_columns);
}

std::unique_ptr<StoredWeight> make_int4(const std::string& name, const Stored& codes, const Stored& scales,
                                        int64_t n_in, int64_t group) {
  const Type type = group % 32 == 0 ? type_of(Published::kInt4) : Type::F32;
  return std::make_unique<Int4>(name, codes, scales, std::vector<int64_t>{codes.tensor->shape[0], n_in}, group, type);
}

std::unique_ptr<StoredWeight> make_mxfp4(const std::string& name, const Stored& codes, const Stored& exponents,
                                         std::vector<int64_t> shape) {
  return std::make_unique<Mxfp4>(name, codes, exponents, std::move(shape), 32, type_of(Published::kMxfp4));
}

std::unique_ptr<StoredWeight> make_nvfp4(const std::string& name, const Stored& codes, const Stored& scales,
                                         std::vector<int64_t> shape, float factor) {
  return std::make_unique<Nvfp4>(name, codes, scales, std::move(shape), factor);
}

}  // namespace steelyard::huggingface
