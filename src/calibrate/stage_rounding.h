// All linears of a stage, rounded: which tasks that is, what performs one, and the tensors that outcomes are put
// together to. Whoever performs a task needs the stage's groups and their statistics, and nothing of the queue
// (rounding_queue.h). Called by CalibratedLayers.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "calibrate/rounding_queue.h"

namespace steelyard::calibrate {

/// Tensors that read one input, and what is known of it from the watched chunks, from those that judge, and from half
/// of the watched ones. The last two may be null.
struct RoundingGroup {
  std::vector<const plan::Decision*> decisions;
  std::shared_ptr<const SliceHessians> own, judges, half;
};

class StageRounding {
 public:
  /// Makes the means over all slices, which every slice uses: parallel inside.
  StageRounding(const gguf::Source& source, std::vector<RoundingGroup> groups, const RoundingSettings& settings);

  std::span<const RoundingGroup> groups() const { return groups_; }
  std::vector<RoundingTask> tasks() const;
  /// The rank that has the statistics for it.
  int owner(const RoundingTask& task) const;
  /// Thread-safe, and parallel inside. `device` rounds; null: the processor. The outcome is the same.
  RoundingOutcome perform(const RoundingTask& task, formats::DeviceEncoder* device, TimedLoop& timed) const;
  /// Of each task once. Thread-safe.
  void keep(const RoundingTask& task, const RoundingOutcome& outcome);

  struct Tensor {
    const plan::Decision* decision = nullptr;
    RoundedTensor rounded;
    double half_over_all = 0;  ///< what its outputs lose with half of the text, over that with all of it; 0: not known
  };
  /// When all outcomes are there: of each group its tensors.
  std::vector<std::vector<Tensor>> take();

 private:
  const gguf::Source& source_;
  std::vector<RoundingGroup> groups_;
  RoundingSettings settings_;
  std::vector<TensorRounding> roundings_;              // of each group
  std::vector<std::vector<SliceAssembly>> assembled_;  // of each group its tensors
  std::vector<std::vector<TextLoss>> texts_;
};

/// Performs tasks on this machine, one after the other: on the processor, or with a device.
class LocalWorker : public RoundingWorker {
 public:
  /// before_each: called before every task, from the worker's thread; may throw, which ends the stage. May be empty.
  LocalWorker(std::string name, const StageRounding& stage, formats::DeviceEncoder* device, TimedLoop& timed,
              std::function<void()> before_each = {})
      : RoundingWorker(std::move(name)),
        stage_(stage),
        device_(device),
        timed_(timed),
        before_each_(std::move(before_each)) {}

  void work(RoundingQueue& queue) override;

 private:
  const StageRounding& stage_;
  formats::DeviceEncoder* device_;
  TimedLoop& timed_;
  std::function<void()> before_each_;
};

}  // namespace steelyard::calibrate
