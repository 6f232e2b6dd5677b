// How one tensor is rounded when the Hessian of its inputs is known. Every slice is rounded in several ways; the
// one whose outputs lose least is kept. The ways are made from the Hessian of the watched chunks and judged on those of
// chunks that were held out, so that none wins by fitting the text it was made from.
//
// The bytes depend on the weights and the Hessian only, not on the number of threads, nor on where a slice is rounded.
// Called by StageRounding, slice by slice, and by trials of other types.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "calibrate/input_statistics.h"
#include "calibrate/slice_hessians.h"
#include "calibrate/stage_times.h"
#include "gguf/source.h"
#include "plan/resolve.h"
#include "quantize/ldlq.h"

namespace steelyard::calibrate {

/// docs/results/feedback.md has the measurements behind the numbers.
struct RoundingSettings {
  quantize::LdlqSettings ldlq;        ///< its damping is replaced by the schedule's
  DampingSchedule damping{0.1, 2.0};  ///< of feedback
  DampingSchedule ridge{0.1, 20.0};   ///< of the correction (quantize/correction.h)
  double expert_prior = 0.3;          ///< the mean of a layer's experts counts as this many times n_in inputs of each
  formats::DeviceEncoder* device = nullptr;  ///< where round_tensors() rounds, with the same bytes; null: the processor
  int64_t slices_at_once = INT64_MAX;        ///< as memory allows (calibration_memory.h); changes no byte
  StageTimes* times = nullptr;               ///< where seconds are added, or null
};

/// With error feedback, or each weight by itself: weighted by the Hessian's diagonal or not.
enum class Rounding { kLdlq, kDiagonal, kPlain };
inline constexpr size_t kRoundings = 3;

/// What one tensor's outputs lose on held-out chunks, by way of rounding.
struct RoundingReport {
  std::string name;
  /// Part of the outputs' energy, mean over slices, without what the tensor cannot change. Below zero where the tensor
  /// compensates more than its rounding loses.
  std::array<double, kRoundings> loss = {};
  std::array<int64_t, kRoundings> chosen = {};  ///< slices rounded so
};

struct RoundedTensor {
  std::vector<std::byte> bytes;
  RoundingReport report;
  /// Of each slice as it was rounded: mean squared error per output, less what no rounding can change.
  std::vector<double> error;
};

/// One slice of a tensor as it was rounded.
struct RoundedSlice {
  std::vector<std::byte> bytes;
  Rounding best = Rounding::kPlain;
  double error = 0;                          ///< RoundedTensor::error
  std::array<double, kRoundings> loss = {};  ///< RoundingReport::loss
};

/// Rounds slices of tensors that read the same input, in the types that were decided. watched: the Hessian of their
/// inputs, of their shape; held_out: those that judge, null where there are none. A slice without held-out inputs is
/// judged by the watched ones. What the tensors have in common is made once for each slice.
class TensorRounding {
 public:
  /// All but the settings must outlive it. Makes the mean of all slices, if they use it: parallel inside.
  TensorRounding(const gguf::Source& source, std::span<const plan::Decision* const> decisions,
                 const SliceHessians& watched, const SliceHessians* held_out, const RoundingSettings& settings);
  TensorRounding(TensorRounding&&) noexcept;
  ~TensorRounding();

  int64_t n_slices() const;
  /// Of each tensor, in their order. `device` rounds; null: the processor. Thread-safe, and parallel inside. BadWeight
  /// where a weight is not finite.
  std::vector<RoundedSlice> round(int64_t slice, formats::DeviceEncoder* device, TimedLoop& timed) const;

 private:
  struct Inputs;
  const gguf::Source* source_;
  std::vector<const plan::Decision*> decisions_;
  RoundingSettings settings_;
  std::unique_ptr<const Inputs> inputs_;
};

/// Puts a tensor together from its slices, which come in any order, and from any thread.
class SliceAssembly {
 public:
  explicit SliceAssembly(const plan::Decision& decision);
  /// Each slice once. Thread-safe.
  void put(int64_t slice, const RoundedSlice& rounded);
  /// When all slices are there.
  RoundedTensor take();

 private:
  RoundedTensor tensor_;
  std::vector<std::array<double, kRoundings>> loss_;  // [n_slices]
  std::vector<Rounding> best_;                        // [n_slices]
};

/// All slices of one tensor.
RoundedTensor round_tensor(const gguf::Source& source, const plan::Decision& decision, const SliceHessians& watched,
                           const SliceHessians* held_out, const RoundingSettings& settings);

/// RoundedTensor::error, estimated from so many slices and so many rows of each. The slices are spread over `ranks`
/// [n_slices], and a slice that was not taken has the error of the next one by rank that was.
struct ErrorSample {
  int64_t n_slices, n_rows;
  std::span<const double> ranks;
};
std::vector<double> sampled_error(const gguf::Source& source, const plan::Decision& decision,
                                  const SliceHessians& watched, const SliceHessians* held_out,
                                  const RoundingSettings& settings, const ErrorSample& sample);

/// RoundedTensor::error of a tensor that was rounded to `bytes` in another way.
std::vector<double> rounding_error(const gguf::Source& source, const plan::Decision& decision,
                                   std::span<const std::byte> bytes, const SliceHessians& watched,
                                   const SliceHessians* held_out, const RoundingSettings& settings);

/// What outputs lose on held-out chunks with feedback from a part of the text, and from all of it.
struct TextLoss {
  double part = 0, all = 0;
};

/// Of some rows of one slice, that with the median number of inputs. Zero where it has no held-out inputs, or where
/// feedback was not possible. Thread-safe.
TextLoss compare_texts(const gguf::Source& source, const plan::Decision& decision, const SliceHessians& part,
                       const SliceHessians& all, const SliceHessians& held_out, const RoundingSettings& settings,
                       formats::DeviceEncoder* device, TimedLoop& timed);
/// The slice.
int64_t compared_slice(const SliceHessians& all);
inline constexpr int64_t kComparedRows = 128;  ///< at most

}  // namespace steelyard::calibrate
