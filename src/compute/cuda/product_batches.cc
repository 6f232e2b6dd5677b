#include "compute/cuda/product_batches.h"

namespace steelyard::compute::cuda {
namespace {

ProductArgs product_args(const Product& product) {
  const Weight& weight = *product.weight;
  STEELYARD_CHECK(product.x.cols == weight.n_in && product.out.cols == weight.n_out &&
                  product.x.rows == product.out.rows);
  ProductArgs args{};
  args.weights = weight.row(product.slice, 0);
  args.row_bytes = weight.row_bytes();
  args.slice_bytes = weight.row_bytes() * weight.n_out;
  args.n_in = weight.n_in;
  args.n_out = weight.n_out;
  args.x = product.x.data;
  args.x_stride = product.x.stride;
  args.out = product.out.data;
  args.out_stride = product.out.stride;
  args.n_rows = product.x.rows;
  args.n_batch = 1;
  if (product.routing != nullptr) {
    args.row_begin = product.routing->row_begin;
    args.n_expert = product.routing->n_expert;
  }
  return args;
}

// Whether `next` is the slice after `last` of the same tensor, with the same steps in x and out as the batch so far.
bool continues(const ProductArgs& batch, const Product& first, const Product& last, const Product& next) {
  return first.routing == nullptr && next.routing == nullptr && next.weight == first.weight &&
         next.slice == last.slice + 1 && next.x.rows == first.x.rows && next.x.stride == first.x.stride &&
         next.out.stride == first.out.stride &&
         (batch.n_batch == 1 ||
          (next.x.data - last.x.data == batch.x_step && next.out.data - last.out.data == batch.out_step));
}

}  // namespace

ProductBatch first_batch(std::span<const Product> products, bool apart) {
  ProductBatch batch{product_args(products[0]), 1};
  for (; batch.n < products.size(); ++batch.n) {
    const Product &last = products[batch.n - 1], &next = products[batch.n];
    if (!continues(batch.args, products[0], last, next)) break;
    if (apart && next.x.data - last.x.data < next.x.cols) break;
    batch.args.x_step = next.x.data - last.x.data;
    batch.args.out_step = next.out.data - last.out.data;
    ++batch.args.n_batch;
  }
  return batch;
}

}  // namespace steelyard::compute::cuda
