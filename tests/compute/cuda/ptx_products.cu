// The kernels of products of some types, one of each kind, for the interpreter of PTX.
#include "compute/cuda/product_kernels.cuh"
#include "formats/bf16.h"
#include "formats/f32.h"
#include "formats/iq2_xs.h"
#include "formats/iq3_s.h"
#include "formats/q4_k.h"
#include "formats/q5_1.h"
#include "formats/q8_0.h"

namespace steelyard::compute::cuda {

STEELYARD_PRODUCTS(F32)
STEELYARD_PRODUCTS(BF16)
STEELYARD_PRODUCTS(Q8_0)
STEELYARD_PRODUCTS(Q5_1)
STEELYARD_PRODUCTS(Q4_K)
STEELYARD_PRODUCTS(IQ2_XS)
STEELYARD_PRODUCTS(IQ3_S)

}  // namespace steelyard::compute::cuda
