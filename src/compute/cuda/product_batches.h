// Lists of products as launches take them.
#pragma once

#include <span>

#include "compute/arguments.h"
#include "compute/cuda/products.h"

namespace steelyard::compute::cuda {

/// The products at the beginning of a list that are one launch: slices of one tensor, one after the other, or one
/// product.
struct ProductBatch {
  ProductArgs args;  ///< without prepared input
  size_t n;
};

/// apart: only products whose inputs do not overlap, so that gradients can be added to all of them at the same time.
ProductBatch first_batch(std::span<const Product> products, bool apart = false);

}  // namespace steelyard::compute::cuda
