#include "compute/cuda/encoders.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/check.h"
#include "compute/cuda/cuda.h"
#include "compute/cuda/runtime.h"

namespace steelyard {
namespace cuda {

#define ENCODER(name) extern const EncodeKernel k##name##Encode;
#include "compute/cuda/encoders.def"
#undef ENCODER

const EncodeKernel* encode_kernel(Type type) {
  static constexpr std::pair<Type, const EncodeKernel*> kTable[] = {
#define ENCODER(name) {Type::name, &k##name##Encode},
#include "compute/cuda/encoders.def"
#undef ENCODER
  };
  const auto* const found = std::ranges::find(kTable, type, &std::pair<Type, const EncodeKernel*>::first);
  return found == std::end(kTable) ? nullptr : found->second;
}

namespace {

class CudaEncoder : public DeviceEncoder {
 public:
  explicit CudaEncoder(int device) : device_(device), x_(device_), importance_(device_), out_(device_) {}

  bool encodes(Type type) const override { return encode_kernel(type) != nullptr; }
  void encode(Type type, const float* x, int64_t n_rows, int64_t n_cols, const float* importance, Effort effort,
              std::byte* out) override;

 private:
  const std::byte* books(Type type, const EncodeKernel& kernel);

  Device device_;
  Workspace x_, importance_, out_;
  std::map<Type, Buffer> books_;  // one after the other; kept, since a model's tensors share their types
};

const std::byte* CudaEncoder::books(Type type, const EncodeKernel& kernel) {
  if (kernel.n_books == 0) return nullptr;
  Buffer& books = books_[type];
  if (books == nullptr) {
    books = device_.allocate(static_cast<size_t>(kernel.n_books) * kernel.book_bytes);
    for (int n = 0; n < kernel.n_books; ++n) {
      device_.upload(books.get() + static_cast<size_t>(n) * kernel.book_bytes, kernel.book(n), kernel.book_bytes);
    }
  }
  return books.get();
}

void CudaEncoder::encode(Type type, const float* x, int64_t n_rows, int64_t n_cols, const float* importance,
                         Effort effort, std::byte* out) {
  const EncodeKernel* kernel = encode_kernel(type);
  const Format& to = format(type);
  STEELYARD_CHECK(kernel != nullptr && n_cols % to.block_len == 0);
  if (n_rows == 0 || n_cols == 0) return;
  device_.use();
  const auto n = static_cast<size_t>(n_rows * n_cols);
  const size_t bytes = n / static_cast<size_t>(to.block_len) * static_cast<size_t>(to.block_bytes);
  auto* device_x = x_.array<float>(n);
  device_.upload(device_x, x, n * sizeof(float));
  float* device_importance = nullptr;
  if (importance != nullptr) {
    device_importance = importance_.array<float>(static_cast<size_t>(n_cols));
    device_.upload(device_importance, importance, static_cast<size_t>(n_cols) * sizeof(float));
  }
  auto* device_out = out_.array<std::byte>(bytes);
  const std::byte* first = books(type, *kernel);
  EncodeArgs args{
      device_x, device_importance, device_out, {}, n_rows, n_cols / to.block_len, static_cast<int64_t>(effort)};
  for (int b = 0; b < kernel->n_books; ++b) args.books[b] = first + static_cast<size_t>(b) * kernel->book_bytes;
  device_.check(kernel->launch(args, device_.stream()), "encoding");
  device_.download(out, device_out, bytes);
}

}  // namespace
}  // namespace cuda

std::unique_ptr<DeviceEncoder> make_cuda_encoder(int device) { return std::make_unique<cuda::CudaEncoder>(device); }

}  // namespace steelyard
