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

STEELYARD_PRODUCTS(formats::F32)
STEELYARD_PRODUCTS(formats::BF16)
STEELYARD_PRODUCTS(formats::Q8_0)
STEELYARD_PRODUCTS(formats::Q5_1)
STEELYARD_PRODUCTS(formats::Q4_K)
STEELYARD_PRODUCTS(formats::IQ2_XS)
STEELYARD_PRODUCTS(formats::IQ3_S)

}  // namespace steelyard::compute::cuda
