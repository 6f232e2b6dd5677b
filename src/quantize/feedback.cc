#include "quantize/feedback.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <Eigen/LU>
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/parallel.h"
#include "quantize/damping.h"

namespace steelyard {
namespace {

using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using RowsView = Eigen::Map<const Rows>;
using Doubles = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Rows that pass through the columns together: enough for the products to be of matrices, few enough to share out.
constexpr int64_t kTileRows = 32;
// Columns between two such products. A multiple of every block length.
constexpr int64_t kPanel = 256;

// R of H; empty if that is not positive definite. Turned around, R R^T is the L L^T of Cholesky.
std::optional<Rows> upper_factor(const Doubles& moments) {
  const Eigen::Index n = moments.rows();
  const Doubles turned = moments.reverse();
  const Eigen::LLT<Doubles, Eigen::Lower> cholesky(turned);
  if (cholesky.info() != Eigen::Success) return std::nullopt;
  const Doubles lower = cholesky.matrixL();
  Rows upper(n, n);
  for (Eigen::Index i = 0; i < n; ++i) {
    for (Eigen::Index j = 0; j < n; ++j) upper(i, j) = static_cast<float>(lower(n - 1 - i, n - 1 - j));
  }
  if (!upper.allFinite() || !(upper.diagonal().minCoeff() > 0.0f)) return std::nullopt;
  return upper;
}

}  // namespace

// Rows on their way through the columns.
class FeedbackEncoder::Tile {
 public:
  Tile(const FeedbackEncoder& encoder, const float* rows, int64_t n_rows)
      : own_(encoder),
        encoder_(*encoder.format_.encoder),
        n_(encoder.n_),
        block_len_(encoder.format_.block_len),
        n_blocks_(n_ / block_len_),
        rows_(rows, n_rows, n_),
        factor_(encoder.factor_.data(), n_, n_),
        moments_(encoder.moments_.data(), n_, n_),
        errors_(Rows::Zero(n_rows, n_)),
        scales_(static_cast<size_t>(n_rows * n_blocks_)),
        codes_(static_cast<size_t>(n_rows * n_ / encoder_.joint)) {}

  void round() {
    for (int64_t begin = 0; begin < n_; begin += kPanel) {
      const int64_t width = std::min(kPanel, n_ - begin);
      Rows carried = errors_.leftCols(begin) * factor_.block(0, begin, begin, width);
      for (int64_t r = 0; r < rows_.rows(); ++r) {
        for (int64_t at = begin; at < begin + width; at += block_len_) {
          round_block(r, at, begin, width, carried.row(r).data());
        }
      }
    }
  }

  void descend() {
    for (int64_t begin = 0; begin < n_; begin += kPanel) {
      const int64_t width = std::min(kPanel, n_ - begin);
      Rows slope = errors_ * moments_.middleCols(begin, width);
      for (int64_t r = 0; r < rows_.rows(); ++r) {
        for (int64_t at = begin; at < begin + width; at += block_len_) {
          descend_block(r, at, begin, width, slope.row(r).data());
        }
      }
    }
  }

  // Of a row's outputs W x only the part (Q x)(W x) / (W x)^2 is in Q x, less than one. Over a model's layers errors
  // average out and what is missing adds up.
  void counter_shrinkage() {
    const Rows outputs = rows_ * moments_;
    for (int64_t r = 0; r < rows_.rows(); ++r) {
      const Eigen::RowVectorXf rounded = rows_.row(r) - errors_.row(r);
      const double whole = outputs.row(r).cast<double>().dot(rows_.row(r).cast<double>());
      const double kept = outputs.row(r).cast<double>().dot(rounded.cast<double>());
      // Where less than half is left it is not the size that is wrong.
      if (!(kept > 0.5 * whole) || !(kept < whole)) continue;
      const auto factor = static_cast<float>(1.0 + own_.settings_.given_back * (whole / kept - 1.0));
      for (int64_t at = 0; at < n_; at += block_len_) {
        float values[kMaxBlockLen], weights[kMaxBlockLen];
        for (int64_t j = 0; j < block_len_; ++j) {
          values[j] = factor * rounded(at + j);
          weights[j] = moments_(at + j, at + j);
        }
        encoder_.refit(values, weights, codes(r, at), scales(r, at).bytes);
      }
    }
  }

  void pack(std::byte* out) const {
    for (int64_t r = 0; r < rows_.rows(); ++r) {
      for (int64_t b = 0; b < n_blocks_; ++b, out += own_.format_.block_bytes) {
        encoder_.pack(scales_[static_cast<size_t>(r * n_blocks_ + b)].bytes, codes(r, b * block_len_), out);
      }
    }
  }

 private:
  struct Scales {
    alignas(16) std::byte bytes[kMaxScalesBytes];
  };

  Scales& scales(int64_t r, int64_t at) { return scales_[static_cast<size_t>(r * n_blocks_ + at / block_len_)]; }
  uint32_t* codes(int64_t r, int64_t at) { return &codes_[static_cast<size_t>((r * n_ + at) / encoder_.joint)]; }
  const uint32_t* codes(int64_t r, int64_t at) const {
    return &codes_[static_cast<size_t>((r * n_ + at) / encoder_.joint)];
  }

  // w' of columns [at, at + n): the row, and what mends `carried` [n], the errors so far times R of these columns.
  void mended(int64_t r, int64_t at, int64_t n, const float* carried, float* out) const {
    for (int64_t j = 0; j < n; ++j) {
      float rest = carried[j];
      for (int64_t i = 0; i < j; ++i) rest -= out[i] * factor_(at + i, at + j);
      out[j] = rest / factor_(at + j, at + j);
    }
    for (int64_t j = 0; j < n; ++j) out[j] += rows_(r, at + j);
  }

  // carried: [width] of the panel that begins at `begin`; takes up the errors of this block.
  void round_block(int64_t r, int64_t at, int64_t begin, int64_t width, float* carried) {
    const float* const w = own_.weights_.data() + at;
    float x[kMaxBlockLen];
    Scales& chosen = scales(r, at);
    mended(r, at, block_len_, carried + (at - begin), x);
    encoder_.fit(x, w, own_.settings_.effort, chosen.bytes, codes(r, at));
    for (int64_t sub = 0; sub < block_len_; sub += encoder_.sub_block) {
      if (encoder_.rescale != nullptr && sub > 0) {
        mended(r, at + sub, encoder_.sub_block, carried + (at + sub - begin), x);
        encoder_.rescale(x, w + sub, static_cast<int>(sub), own_.settings_.effort, chosen.bytes);
      }
      for (int64_t i = sub; i < sub + encoder_.sub_block; i += encoder_.joint) {
        float values[kMaxJoint];
        mended(r, at + i, encoder_.joint, carried + (at + i - begin), x);
        *codes(r, at + i) = encoder_.round(x, w + i, chosen.bytes, static_cast<int>(i), values);
        for (int64_t j = at + i; j < at + i + encoder_.joint; ++j) {
          const float error = rows_(r, j) - values[j - at - i];
          errors_(r, j) = error;
          for (int64_t k = j; k < begin + width; ++k) carried[k - begin] += error * factor_(j, k);
        }
      }
    }
  }

  // slope: [width] of e H in the panel that begins at `begin`; kept up to date.
  void descend_block(int64_t r, int64_t at, int64_t begin, int64_t width, float* slope) {
    const int joint = encoder_.joint;
    Scales& chosen = scales(r, at);
    for (int64_t i = at; i < at + block_len_; i += joint) {
      // Of this group's errors e the cost is e H_BB e + 2 e c, least at -c H_BB^-1.
      const float* const inverse = own_.group_inverse_.data() + i * joint;
      float rest[kMaxJoint], target[kMaxJoint], weights[kMaxJoint], values[kMaxJoint], change[kMaxJoint];
      for (int j = 0; j < joint; ++j) {
        rest[j] = slope[i - begin + j];
        for (int k = 0; k < joint; ++k) rest[j] -= errors_(r, i + k) * moments_(i + k, i + j);
        weights[j] = moments_(i + j, i + j);
      }
      for (int j = 0; j < joint; ++j) {
        target[j] = rows_(r, i + j);
        for (int k = 0; k < joint; ++k) target[j] += rest[k] * inverse[k * joint + j];
      }
      const uint32_t code = encoder_.round(target, weights, chosen.bytes, static_cast<int>(i - at), values);
      for (int j = 0; j < joint; ++j) change[j] = rows_(r, i + j) - values[j] - errors_(r, i + j);
      if (accept(r, i, joint, begin, width, change, slope)) *codes(r, i) = code;
    }
    stretch(r, at, begin, width, slope);
  }

  // Scales the block's values by what suits the outputs best, as far as it can be stored.
  void stretch(int64_t r, int64_t at, int64_t begin, int64_t width, float* slope) {
    float values[kMaxBlockLen], change[kMaxBlockLen];
    double along = 0.0, curvature = 0.0;
    for (int64_t j = 0; j < block_len_; ++j) values[j] = rows_(r, at + j) - errors_(r, at + j);
    for (int64_t j = 0; j < block_len_; ++j) {
      float product = 0.0f;
      for (int64_t k = 0; k < block_len_; ++k) product += values[k] * moments_(at + j, at + k);
      along += static_cast<double>(values[j]) * slope[at + j - begin];
      curvature += static_cast<double>(values[j]) * product;
    }
    if (!(curvature > 0.0)) return;
    const auto factor = static_cast<float>(1.0 + along / curvature);
    float weights[kMaxBlockLen];
    for (int64_t j = 0; j < block_len_; ++j) {
      values[j] *= factor;
      weights[j] = moments_(at + j, at + j);
    }
    Scales stretched = scales(r, at);
    encoder_.refit(values, weights, codes(r, at), stretched.bytes);
    std::byte block[kMaxBlockLen * sizeof(float)];
    encoder_.pack(stretched.bytes, codes(r, at), block);
    own_.format_.decode(block, 1, values);
    for (int64_t j = 0; j < block_len_; ++j) change[j] = rows_(r, at + j) - values[j] - errors_(r, at + j);
    if (accept(r, at, static_cast<int>(block_len_), begin, width, change, slope)) scales(r, at) = stretched;
  }

  // Changes the errors of columns [at, at + n) if that lowers e H e^T.
  bool accept(int64_t r, int64_t at, int n, int64_t begin, int64_t width, const float* change, float* slope) {
    double cost = 0.0;
    for (int j = 0; j < n; ++j) {
      if (change[j] == 0.0f) continue;
      float product = 0.0f;
      for (int k = 0; k < n; ++k) product += change[k] * moments_(at + j, at + k);
      cost += change[j] * (static_cast<double>(product) + 2.0 * slope[at + j - begin]);
    }
    if (!(cost < 0.0)) return false;
    for (int j = 0; j < n; ++j) {
      errors_(r, at + j) += change[j];
      const float* const row = moments_.data() + (at + j) * n_ + begin;
      for (int64_t k = 0; k < width; ++k) slope[k] += change[j] * row[k];
    }
    return true;
  }

  const FeedbackEncoder& own_;
  const Encoder& encoder_;
  int64_t n_, block_len_, n_blocks_;
  RowsView rows_, factor_, moments_;
  Rows errors_;  // original less rounded
  std::vector<Scales> scales_;
  std::vector<uint32_t> codes_;
};

std::optional<FeedbackEncoder> FeedbackEncoder::make(const Format& format, int64_t n, const float* moments,
                                                     const FeedbackSettings& settings) {
  STEELYARD_CHECK(format.encoder != nullptr && n % format.block_len == 0 && kPanel % format.block_len == 0);
  Doubles h = RowsView(moments, n, n).cast<double>();
  if (!h.allFinite() || !(h.diagonal().mean() > 0.0)) return std::nullopt;
  damp(h, settings.damping);
  const std::optional<Rows> factor = upper_factor(h);
  if (!factor) return std::nullopt;

  FeedbackEncoder encoder(format, n, settings);
  encoder.factor_.assign(factor->data(), factor->data() + n * n);
  encoder.moments_.resize(static_cast<size_t>(n * n));
  Eigen::Map<Rows>(encoder.moments_.data(), n, n) = h.cast<float>();
  const int joint = format.encoder->joint;
  encoder.weights_.resize(static_cast<size_t>(n));
  encoder.group_inverse_.resize(static_cast<size_t>(n * joint));
  for (int64_t i = 0; i < n; i += joint) {
    const Rows triangle = factor->block(i, i, joint, joint).triangularView<Eigen::Upper>();
    const Rows inverse = h.block(i, i, joint, joint).inverse().cast<float>();
    for (int j = 0; j < joint; ++j) encoder.weights_[static_cast<size_t>(i + j)] = triangle.row(j).squaredNorm();
    std::copy_n(inverse.data(), joint * joint, encoder.group_inverse_.data() + i * joint);
  }
  return encoder;
}

void FeedbackEncoder::encode(const float* rows, int64_t n_rows, std::byte* out) const {
  const size_t row_bytes = static_cast<size_t>(n_ / format_.block_len) * format_.block_bytes;
  parallel_for((n_rows + kTileRows - 1) / kTileRows, 1, [&](int64_t t) {
    const int64_t begin = t * kTileRows, n = std::min(kTileRows, n_rows - begin);
    Tile tile(*this, rows + begin * n_, n);
    tile.round();
    for (int pass = 0; pass < settings_.passes; ++pass) tile.descend();
    tile.counter_shrinkage();
    tile.pack(out + static_cast<size_t>(begin) * row_bytes);
  });
}

double output_error(int64_t n, const float* moments, const float* pull, const float* rows, const float* decoded,
                    int64_t n_rows) {
  const Rows errors = RowsView(rows, n_rows, n) - RowsView(decoded, n_rows, n);
  Rows product = errors * RowsView(moments, n, n);
  if (pull != nullptr) product += 2.0f * RowsView(pull, n_rows, n);
  return errors.cwiseProduct(product).cast<double>().sum() / static_cast<double>(n_rows);
}

}  // namespace steelyard
