// What backends that compute in host memory share: memory is memory, and weights stay in the file map.
#pragma once

#include <vector>

#include "compute/backend.h"

namespace steelyard::compute {

class HostBackend : public Backend {
 public:
  Buffer allocate(size_t bytes) override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  void zero(void* device, size_t bytes) override;
  Weight load(Weight host) override { return host; }

  void embed(const Weight& table, std::span<const int32_t> ids, Matrix out) override;
  void copy(Matrix from, Matrix to) override;
  void store(Matrix from, TypedRows to) override;
  /// A routed product becomes one product per expert.
  void mul_mats(std::span<const Product> products) final;
  void add_row_experts(Matrix y, const float* rows, const Routing& routing) override;
  void route(Matrix logits, const RouteArgs& args, Routing& routing) override;

  void center(Matrix x) override;
  void softmax(Matrix x) override;
  void state_space(const StateSpaceArgs& args, float* state, Matrix out) override;
  void hyper_weights(const HyperArgs& args, Matrix m) override;
  void mix_streams(Matrix x, Matrix weights, int64_t width, Matrix out, bool add) override;
  void similarity_gate(Matrix x, Matrix y, Matrix out) override;
  void softmax_pool(Matrix x, Matrix scores, int64_t n, Matrix out) override;
  void index_scores(Matrix q, Matrix weights, TypedRows k, Matrix scores) override;
  void select(const SelectArgs& args, Matrix scores, Matrix visible) override;

  void mul_mats_transposed(std::span<const Product> products) final;
  void scale_gradients(std::span<const ScaleGradient> gradients) final;
  void route_backward(Matrix logits, const RouteArgs& args, const Routing& routing, const float* dweight,
                      Matrix dlogits) override;
  void sum_rows_experts(Matrix x, const Routing& routing, float* sums) override;
  void write_scales(const Weight& weight, const float* scales) override;

 protected:
  /// Of one slice each: mul_mats makes a product for each expert of what is routed, with the rows that go there and the
  /// routing that they are from.
  virtual void multiply(std::span<const Product> products) = 0;
  /// The same for mul_mats_transposed and for scale_gradients. Slices of one weight have one `sums`.
  virtual void multiply_transposed(std::span<const Product> products) = 0;
  virtual void add_scale_gradients(std::span<const ScaleGradient> gradients) = 0;

 private:
  // Sets products_ to those of one slice each.
  void split_by_expert(std::span<const Product> products);

  std::vector<Product> products_;  // of the call at work
};

}  // namespace steelyard::compute
