// Factors on a device are the CPU's, bit for bit.
#include "quantize/cholesky.h"

#include <random>

#include "compute/cuda/on_device.h"

namespace steelyard::compute {
namespace {

class CudaCholesky : public CudaTest {
 protected:
  static quantize::DoubleMatrix positive_definite(Eigen::Index n) {
    std::mt19937 random(1);
    std::normal_distribution<double> normal;
    quantize::DoubleMatrix values(n, n);
    for (double& value : values.reshaped()) value = normal(random);
    return values * values.transpose() + quantize::DoubleMatrix::Identity(n, n);
  }
};

TEST_F(CudaCholesky, HasTheBitsOfTheProcessor) {
  const auto device = make_cuda_encoder(0);
  for (const Eigen::Index n : {1, 32, 33, 96, 100, 161}) {
    quantize::DoubleMatrix expected = positive_definite(n), found = expected;
    ASSERT_TRUE(quantize::cholesky(expected));
    ASSERT_TRUE(device->cholesky(n, found.data()));
    EXPECT_EQ(quantize::DoubleMatrix(found.triangularView<Eigen::Lower>()),
              quantize::DoubleMatrix(expected.triangularView<Eigen::Lower>()))
        << n;
  }
}

TEST_F(CudaCholesky, RefusesWhatIsNotPositiveDefinite) {
  const auto device = make_cuda_encoder(0);
  for (const Eigen::Index at : {0, 31, 70, 99}) {
    quantize::DoubleMatrix a = positive_definite(100);
    a(at, at) = -1.0;
    EXPECT_FALSE(device->cholesky(100, a.data())) << at;
  }
  quantize::DoubleMatrix sound = positive_definite(100);
  EXPECT_TRUE(device->cholesky(100, sound.data()));
}

}  // namespace
}  // namespace steelyard::compute
