#include "compute/cuda/encoders.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "base/check.h"
#include "compute/cuda/cuda.h"
#include "compute/cuda/ldlq_rounder.h"

namespace steelyard::compute {
namespace cuda {

#define ENCODER(name) extern const EncodeKernel k##name##Encode;
#include "compute/cuda/encoders.def"
#undef ENCODER

const EncodeKernel* encode_kernel(formats::Type type) {
  static constexpr std::pair<formats::Type, const EncodeKernel*> kTable[] = {
#define ENCODER(name) {formats::Type::name, &k##name##Encode},
#include "compute/cuda/encoders.def"
#undef ENCODER
  };
  const auto* const found = std::ranges::find(kTable, type, &std::pair<formats::Type, const EncodeKernel*>::first);
  return found == std::end(kTable) ? nullptr : found->second;
}

namespace {

class CudaEncoder : public formats::DeviceEncoder {
 public:
  explicit CudaEncoder(int device) : device_(device) {}

  bool encodes(formats::Type type) const override { return encode_kernel(type) != nullptr; }
  void encode(formats::Type type, const float* x, int64_t n_rows, int64_t n_cols, const float* importance,
              formats::Effort effort, std::byte* out) override;
  void encode_ldlq(formats::Type type, const formats::LdlqInputs& inputs, const float* x, int64_t n_rows,
                   std::byte* out) override;

 private:
  void find_books(formats::Type type, const EncodeKernel& kernel, const void* (&books)[kBooks]);

  std::mutex one_at_a_time_;
  Device device_;
  Workspace x_{device_}, importance_{device_}, out_{device_};
  LdlqRounder ldlq_{device_};
  std::map<formats::Type, Buffer> books_;  // one after the other; kept, since a model's tensors share their types
};

void CudaEncoder::find_books(formats::Type type, const EncodeKernel& kernel, const void* (&books)[kBooks]) {
  if (kernel.n_books == 0) return;
  Buffer& memory = books_[type];
  const bool first = memory == nullptr;
  if (first) memory = device_.allocate(static_cast<size_t>(kernel.n_books) * kernel.book_bytes);
  for (int n = 0; n < kernel.n_books; ++n) {
    std::byte* const place = memory.get() + static_cast<size_t>(n) * kernel.book_bytes;
    if (first) device_.upload(place, kernel.book(n), kernel.book_bytes);
    books[n] = place;
  }
}

void CudaEncoder::encode(formats::Type type, const float* x, int64_t n_rows, int64_t n_cols, const float* importance,
                         formats::Effort effort, std::byte* out) {
  const EncodeKernel* kernel = encode_kernel(type);
  const formats::Format& to = format(type);
  STEELYARD_CHECK(kernel != nullptr && n_cols % to.block_len == 0);
  if (n_rows == 0 || n_cols == 0) return;
  const std::lock_guard lock(one_at_a_time_);
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
  EncodeArgs args{
      device_x, device_importance, device_out, {}, n_rows, n_cols / to.block_len, static_cast<int64_t>(effort)};
  find_books(type, *kernel, args.books);
  device_.check(kernel->launch(args, device_.stream()), "encoding");
  device_.download(out, device_out, bytes);
}

void CudaEncoder::encode_ldlq(formats::Type type, const formats::LdlqInputs& inputs, const float* x, int64_t n_rows,
                              std::byte* out) {
  const EncodeKernel* kernel = encode_kernel(type);
  const formats::Format& to = format(type);
  STEELYARD_CHECK(kernel != nullptr && inputs.n % to.block_len == 0);
  if (n_rows == 0 || inputs.n == 0) return;
  const std::lock_guard lock(one_at_a_time_);
  device_.use();
  const void* books[kBooks] = {};
  find_books(type, *kernel, books);
  ldlq_.encode(to, *kernel, books, inputs, x, n_rows, out);
}

}  // namespace
}  // namespace cuda

std::unique_ptr<formats::DeviceEncoder> make_cuda_encoder(int device) {
  return std::make_unique<cuda::CudaEncoder>(device);
}

}  // namespace steelyard::compute
