// Reverse-mode differentiation of whatever passes through a backend. A tape is a backend that hands every operation on
// to another one. While it records, it also notes how the operation's gradient goes back. So the forward pass stays the
// only description of a model, and each architecture has its backward pass with it.
//
// Gradients lie in memory of the same layout as what they belong to: for each piece of memory that was allocated
// through the tape there is a second one, and a view of the first becomes the gradient's view at the same place in the
// second. An operation that overwrites its operand has that operand's gradient overwritten on the way back.
//
// Invariant: between an operation and backward(), what it read may be changed only by operations that replace their
// operand in place; the tape saves what these overwrite and the way back needs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "compute/backend.h"
#include "compute/scratch.h"

namespace steelyard::compute {

/// Sees the gradients of products' results on the way back, before they go through the weights.
class GradientObserver {
 public:
  virtual ~GradientObserver() = default;
  /// dz [n, n_out], or with a routing [n_slots, n_out], rows in expert order.
  virtual void product(Backend& backend, const Weight& weight, int64_t slice, Matrix dz, const Routing* routing) = 0;
};

class GradientTape : public Backend {
 public:
  explicit GradientTape(Backend& backend);
  ~GradientTape() override;

  /// Forgets what was recorded and begins to record. All gradients are zeros.
  void record();
  /// Ends the recording and goes back through it. Before this, the caller has set gradient() of the results.
  /// `observer` may be null. Weights that were multiplied must still be where they were.
  void backward(GradientObserver* observer = nullptr);
  /// The gradient with respect to a view of memory that was allocated here, in the recording at hand.
  Matrix gradient(Matrix view);

  /// gradient(view) += value.
  void add_gradient(Matrix view, Matrix value) { backend_.add(gradient(view), value); }

  /// From now on, backward() adds the gradient of a parameter to `sums`: of a vector that operations read (norm gains,
  /// biases, sinks), by its address, or of the stored scales of a weight (Backend::scale_gradients), by that of its
  /// data.
  void collect(const void* parameter, float* sums) { sums_[parameter] = sums; }

  // ---- what the other backend does
  std::string_view name() const override { return backend_.name(); }
  std::optional<uint64_t> free_memory() const override { return backend_.free_memory(); }
  Buffer allocate(size_t bytes) override;
  void upload(void* device, const void* host, size_t bytes) override { backend_.upload(device, host, bytes); }
  void download(void* host, const void* device, size_t bytes) override { backend_.download(host, device, bytes); }
  void zero(void* device, size_t bytes) override { backend_.zero(device, bytes); }
  Buffer allocate_copy(const void* host, size_t bytes) override { return backend_.allocate_copy(host, bytes); }
  Weight load(Weight host) override { return backend_.load(std::move(host)); }

#define OPERATION(name, ...) void name(__VA_ARGS__) override;
#define HOST_OPERATION OPERATION
#include "compute/operations.def"

 private:
  struct Memory {
    size_t bytes;
    Buffer gradients;  // made when it is first needed
    bool cleared;      // in the recording at hand
  };
  struct Memories;

  template <typename Back>
  void note(const Back& back) {
    if (recording_) notes_.emplace_back(back);
  }
  std::byte* gradient_at(const void* address);
  float* gradient_of(const float* values) { return reinterpret_cast<float*>(gradient_at(values)); }
  Matrix gradient_of_rows(const TypedRows& rows);
  float* sums_of(const void* parameter) const;
  // A copy of x, until the next recording.
  Matrix saved(Matrix x);
  Matrix saved_if_recording(Matrix x) { return recording_ ? saved(x) : Matrix{}; }
  void products_backward(const std::vector<Product>& products);

  Backend& backend_;
  std::shared_ptr<Memories> memories_;  // outlives the tape as long as there is memory of it
  Scratch copies_;
  std::vector<std::function<void()>> notes_;
  std::map<const void*, float*> sums_;
  GradientObserver* observer_ = nullptr;
  bool recording_ = false;
};

}  // namespace steelyard::compute
