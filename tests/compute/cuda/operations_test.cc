// Operations on rows against the reference, over awkward shapes and all schedules.
#include <cmath>

#include "base/error.h"
#include "compute/cuda/on_device.h"

namespace steelyard::compute {
namespace {

struct Shape {
  int64_t rows, cols;
};
constexpr Shape kShapes[] = {{1, 1}, {1, 64}, {3, 15}, {9, 33}, {5, 300}, {2, 1030}};

class CudaOperations : public CudaTest {
 protected:
  // work(backend, x, y, row) changes x; y and row are only read.
  using Work = std::function<void(Backend&, Matrix x, Matrix y, const float* row)>;
  void compare(float tolerance, float sigma, const Work& work) {
    for (const auto& [rows, cols] : kShapes) {
      SCOPED_TRACE(std::to_string(rows) + "x" + std::to_string(cols));
      cuda_emulator::under_all_schedules(
          [&, rows = rows, cols = cols] {
            const auto backend = cuda();
            Activations found(rows, cols, 1, 5, sigma), expected(rows, cols, 1, 5, sigma), y(rows, cols, 2, 3),
                row(1, cols, 3, 0);
            {
              DeviceMatrix x(*backend, found), device_y(*backend, y);
              const auto device_row = row_values(*backend, row);
              work(*backend, x.matrix(), device_y.matrix(), device_row.data());
              x.download();
            }
            work(*ref_, expected.matrix(), y.matrix(), row.matrix().data);
            expect_close(found.matrix(), expected.matrix(), tolerance);
            EXPECT_TRUE(found.untouched_outside());
          },
          {1, 2});
    }
  }
};

TEST_F(CudaOperations, RmsNorm) {
  for (const float sigma : {1e-6f, 1.0f, 1e4f}) {
    compare(2e-6f, sigma, [](Backend& b, Matrix x, Matrix, const float* row) { b.rms_norm(x, row, 1e-5f, x); });
  }
}
TEST_F(CudaOperations, RmsNormIntoAnother) {
  compare(2e-6f, 1, [](Backend& b, Matrix x, Matrix y, const float* row) { b.rms_norm(y, row, 1e-5f, x); });
}
TEST_F(CudaOperations, Add) {
  compare(0, 1, [](Backend& b, Matrix x, Matrix y, const float*) { b.add(x, y); });
}
TEST_F(CudaOperations, AddRow) {
  compare(0, 1, [](Backend& b, Matrix x, Matrix, const float* row) { b.add_row(x, row); });
}
TEST_F(CudaOperations, Copy) {
  compare(0, 1, [](Backend& b, Matrix x, Matrix y, const float*) { b.copy(y, x); });
}
TEST_F(CudaOperations, Scale) {
  compare(0, 1, [](Backend& b, Matrix x, Matrix, const float*) { b.scale(x, 0.37f); });
}
TEST_F(CudaOperations, Softcap) {
  compare(1e-6f, 40, [](Backend& b, Matrix x, Matrix, const float*) { b.softcap(x, 30.0f); });
}
TEST_F(CudaOperations, Gated) {
  for (const Activation activation : {Activation::kSwiglu, Activation::kGeglu, Activation::kClampedSwiglu}) {
    for (const float sigma : {1.0f, 30.0f}) {
      compare(2e-6f, sigma, [=](Backend& b, Matrix x, Matrix y, const float*) { b.gated(activation, x, y); });
    }
  }
}
TEST_F(CudaOperations, SigmoidGate) {
  compare(1e-6f, 3, [](Backend& b, Matrix x, Matrix y, const float*) { b.apply_gate(Gate::kSigmoid, x, y); });
  compare(1e-6f, 3,
          [](Backend& b, Matrix x, Matrix y, const float*) { b.apply_gate(Gate::kSigmoid, x, y.columns(0, 1)); });
}

TEST_F(CudaOperations, Center) {
  compare(2e-6f, 1, [](Backend& b, Matrix x, Matrix, const float*) { b.center(x); });
}
TEST_F(CudaOperations, Softmax) {
  compare(2e-6f, 5, [](Backend& b, Matrix x, Matrix, const float*) { b.softmax(x); });
}

// What kernels above do in other ways.
TEST_F(CudaOperations, Options) {
  const auto backend = cuda();
  for (const float sigma : {1.0f, 30.0f}) {
    const std::vector<Activations> operands = {{3, 70, 1, 5, sigma}, {3, 70, 2, 3, sigma}};
    for (const Activation& activation : all_activations()) {
      SCOPED_TRACE(activation.kind);
      expect_same(*backend, operands, 2e-6f,
                  [&](Backend& b, const std::vector<Matrix>& on) { b.gated(activation, on[0], on[1]); });
    }
    expect_same(*backend, operands, 2e-6f, [](Backend& b, const std::vector<Matrix>& on) {
      b.gated(Activation::kReluSquared, on[0], {});
      b.rms_norm(on[1], nullptr, 1e-5f, on[1]);
    });
    for (const int64_t n : {70, 1}) {
      expect_same(*backend, operands, 1e-6f, [&](Backend& b, const std::vector<Matrix>& on) {
        b.apply_gate(Gate::kSoftplus, on[0], on[1].columns(0, n));
      });
    }
  }
}

TEST_F(CudaOperations, Rope) {
  constexpr int64_t kRows = 5, kHeads = 3, kHead = 20, kDims = 12, kPositions = 9;
  const auto backend = cuda();
  Activations cos(kPositions, kDims / 2, 4, 0), sin(kPositions, kDims / 2, 5, 0);
  const auto flat = [](Activations& a) {
    const Matrix m = a.matrix();
    return std::vector<float>(m.data, m.data + m.rows * m.cols);
  };
  const DeviceValues<float> device_cos(*backend, flat(cos)), device_sin(*backend, flat(sin));
  for (const RopePairs pairs : {RopePairs::kNorm, RopePairs::kNeox}) {
    Activations found(kRows, kHeads * kHead, 1), expected(kRows, kHeads * kHead, 1);
    DeviceMatrix x(*backend, found);
    backend->rope(x.matrix(), {kHeads, kHead, kDims, pairs, device_cos.data(), device_sin.data(), 3});
    x.download();
    ref_->rope(expected.matrix(), {kHeads, kHead, kDims, pairs, cos.matrix().data, sin.matrix().data, 3});
    backend->rope(x.matrix().slice(0, 3),
                  {kHeads, kHead, kDims, pairs, device_cos.data(), device_sin.data(), 1, false, 3});
    x.download();
    ref_->rope(expected.matrix().slice(0, 3),
               {kHeads, kHead, kDims, pairs, cos.matrix().data, sin.matrix().data, 1, false, 3});
    expect_close(found.matrix(), expected.matrix(), 1e-6f);
    EXPECT_TRUE(found.untouched_outside());
  }
}

TEST_F(CudaOperations, Embed) {
  const std::vector<int32_t> ids = {3, 0, 6, 3};
  const auto backend = cuda();
  for (const formats::Format* format : formats::all_formats()) {
    if (format->decode == nullptr || format->encoder == nullptr) continue;
    RandomWeight table(format->type, 256, 7, 1, 9);
    Activations found(4, 256, 1), expected(4, 256, 1);
    DeviceMatrix out(*backend, found);
    backend->embed(backend->load(table.get()), ids, out.matrix());
    out.download();
    ref_->embed(table.get(), ids, expected.matrix());
    EXPECT_TRUE(identical(found.matrix(), expected.matrix())) << format->name;
    EXPECT_TRUE(found.untouched_outside());
  }
}

// What is stored decodes to what was given, as nearly as the type can.
TEST_F(CudaOperations, Store) {
  const auto backend = cuda();
  for (const formats::Type type :
       {formats::Type::F32, formats::Type::F16, formats::Type::BF16, formats::Type::Q8_0, formats::Type::Q4_0}) {
    const formats::Format& format = formats::format(type);
    Activations from(3, 96, 1);
    const int64_t stride = 96 / format.block_len * format.block_bytes + 32;
    const std::vector<std::byte> poison(static_cast<size_t>(3 * stride), std::byte{0x5A});
    DeviceMatrix x(*backend, from);
    const DeviceValues<std::byte> to(*backend, poison);
    backend->store(x.matrix(), {&format, to.data(), 3, 96, stride});
    const std::vector<std::byte> bytes = to.values();
    for (int64_t r = 0; r < 3; ++r) {
      std::vector<float> decoded(96);
      format.decode(bytes.data() + r * stride, 96 / format.block_len, decoded.data());
      for (int64_t begin = 0; begin < 96; begin += 32) {
        float largest = 0;
        for (int64_t c = begin; c < begin + 32; ++c) largest = std::max(largest, std::abs(from.matrix().row(r)[c]));
        // Half a step: of a mantissa, or of the codes under the block's scale.
        const float step = type == formats::Type::F32    ? 0
                           : type == formats::Type::F16  ? 0x1p-11f
                           : type == formats::Type::BF16 ? 0x1p-8f
                           : type == formats::Type::Q8_0 ? 0.505f / 127
                                                         : 1.01f / 8;  // the side without a level -8 is cut off
        for (int64_t c = begin; c < begin + 32; ++c) {
          EXPECT_NEAR(decoded[static_cast<size_t>(c)], from.matrix().row(r)[c], step * largest) << format.name;
        }
      }
      for (int64_t i = r * stride + stride - 32; i < (r + 1) * stride; ++i)
        EXPECT_EQ(bytes[size_t(i)], std::byte{0x5A});
    }
  }
  Activations from(1, 256, 1);
  DeviceMatrix x(*backend, from);
  EXPECT_THROW(backend->store(x.matrix(), {&formats::format(formats::Type::Q6_K), nullptr, 1, 256, 210}), Error);
}

}  // namespace
}  // namespace steelyard::compute
