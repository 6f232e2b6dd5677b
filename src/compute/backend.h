// The list of operations that a forward pass needs from a device. Operations are batch-first (a prompt and a single
// token are the same call) and coarse. A backend hides memory and streams, and nothing else.
//
// ref/ is scalar and obvious, and is the specification. Every other backend is tested against it, operation by
// operation. Implementations are called from one thread; they are parallel inside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "compute/arguments.h"
#include "compute/tensor.h"

namespace steelyard::compute {

/// Device memory, freed with the last copy of the handle.
using Buffer = std::shared_ptr<std::byte>;

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;

  // ---- memory
  /// Bytes of free memory; nothing where that is the host's, which is not planned.
  virtual std::optional<uint64_t> free_memory() const { return std::nullopt; }
  virtual Buffer allocate(size_t bytes) = 0;
  virtual void upload(void* device, const void* host, size_t bytes) = 0;
  virtual void download(void* host, const void* device, size_t bytes) = 0;
  virtual void zero(void* device, size_t bytes) = 0;
  /// New memory with a copy of the host's, which may change afterwards. This and load() may be called while another
  /// thread runs operations.
  virtual Buffer allocate_copy(const void* host, size_t bytes) {
    Buffer memory = allocate(bytes);
    upload(memory.get(), host, bytes);
    return memory;
  }
  /// Makes the weight's bytes usable by operations. They lie in host memory, and must outlive the backend's use of
  /// them.
  virtual Weight load(Weight host) = 0;

  /// While on, products compute each row of a batch as they compute the only row of one: bit for bit what a text gets
  /// that goes on by itself. Where rows beside a row make no difference, or where that is not promised (devices), it
  /// does nothing.
  virtual void compute_rows_alone(bool) {}

  // ---- operations
#define OPERATION(name, ...) virtual void name(__VA_ARGS__) = 0;
#define HOST_OPERATION OPERATION
#include "compute/operations.def"

  /// One product of mul_mats.
  void mul_mat(const Weight& weight, int64_t slice, Matrix x, Matrix out) {
    const Product product{&weight, slice, x, out};
    mul_mats({&product, 1});
  }
  /// Attention of one sequence alone.
  void attention(const AttentionArgs& args, Matrix out) {
    const Attention one{args, out};
    attentions({&one, 1});
  }
};

/// Has a backend compute rows alone as long as it lives.
class RowsAlone {
 public:
  explicit RowsAlone(Backend& backend, bool on = true) : backend_(backend) { backend_.compute_rows_alone(on); }
  RowsAlone(const RowsAlone&) = delete;
  RowsAlone& operator=(const RowsAlone&) = delete;
  ~RowsAlone() { backend_.compute_rows_alone(false); }

 private:
  Backend& backend_;
};

/// How matrix products round activations. Weights are always decoded exactly.
enum class Precision {
  kExact,  ///< F32: what is measured is the error of the weights alone
  kFast,   ///< may round activations and sums to integers where that is faster
};

/// A backend by its name, as compute/backends.def lists them. Error for an unknown name, for one that this program was
/// built without, and where there is no such device. ref is always exact.
std::unique_ptr<Backend> make_backend(std::string_view name, Precision precision = Precision::kExact);

}  // namespace steelyard::compute
