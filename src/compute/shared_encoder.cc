#include "compute/shared_encoder.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/together.h"

namespace steelyard::compute {
namespace {

class SharedEncoder : public formats::DeviceEncoder {
 public:
  explicit SharedEncoder(std::vector<formats::DeviceEncoder*> devices) : devices_(std::move(devices)) {
    STEELYARD_CHECK(!devices_.empty());
  }

  bool encodes(formats::Type type) const override {
    return std::ranges::all_of(devices_, [&](const formats::DeviceEncoder* device) { return device->encodes(type); });
  }

  void encode(formats::Type type, const float* x, int64_t n_rows, int64_t n_cols, const float* importance,
              formats::Effort effort, std::byte* out) override {
    deal(type, n_rows, n_cols, [&](formats::DeviceEncoder& device, int64_t begin, int64_t n, int64_t row_bytes) {
      device.encode(type, x + begin * n_cols, n, n_cols, importance, effort, out + begin * row_bytes);
    });
  }

  void encode_ldlq(formats::Type type, const formats::LdlqInputs& inputs, const float* x, int64_t n_rows,
                   std::byte* out) override {
    deal(type, n_rows, inputs.n, [&](formats::DeviceEncoder& device, int64_t begin, int64_t n, int64_t row_bytes) {
      device.encode_ldlq(type, inputs, x + begin * inputs.n, n, out + begin * row_bytes);
    });
  }

 private:
  // Parts of whole warps; the last may be smaller.
  template <class Body>
  void deal(formats::Type type, int64_t n_rows, int64_t n_cols, const Body& body) {
    constexpr int64_t kWarp = 32;
    const formats::Format& to = formats::format(type);
    const int64_t row_bytes = n_cols / to.block_len * static_cast<int64_t>(to.block_bytes);
    const auto n_devices = static_cast<int64_t>(devices_.size());
    const int64_t each = ((n_rows + n_devices - 1) / n_devices + kWarp - 1) / kWarp * kWarp;
    const int64_t n_parts = each > 0 ? (n_rows + each - 1) / each : 0;
    run_together(static_cast<size_t>(n_parts), 1, [&](size_t part) {
      const int64_t begin = static_cast<int64_t>(part) * each;
      body(*devices_[part], begin, std::min(each, n_rows - begin), row_bytes);
    });
  }

  std::vector<formats::DeviceEncoder*> devices_;
};

}  // namespace

std::unique_ptr<formats::DeviceEncoder> make_shared_encoder(std::vector<formats::DeviceEncoder*> devices) {
  return std::make_unique<SharedEncoder>(std::move(devices));
}

}  // namespace steelyard::compute
