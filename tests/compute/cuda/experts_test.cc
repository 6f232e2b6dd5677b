// Routing and what experts' rows go through, against the host's code; and what observers collect.
#include "compute/cuda/on_device.h"

namespace steelyard::compute {
namespace {

class CudaExperts : public CudaTest {};

TEST_F(CudaExperts, Route) {
  struct Case {
    int64_t n_tokens, n_expert, n_used, n_group, n_group_used;
  };
  for (const Case& c : {Case{1, 4, 2, 1, 1}, Case{9, 8, 8, 1, 1}, Case{5, 40, 3, 4, 2}, Case{33, 64, 6, 8, 3},
                        Case{2, 300, 10, 1, 1}, Case{40, 6, 1, 6, 2}}) {
    for (const Gating gating : {Gating::kSoftmax, Gating::kSigmoid, Gating::kSoftmaxWeight, Gating::kSqrtSoftplus}) {
      for (const bool variant : {false, true}) {
        SCOPED_TRACE(std::to_string(c.n_expert) + " experts, gating " + std::to_string(int(gating)));
        const auto backend = cuda();
        Activations logits(c.n_tokens, c.n_expert, 1, 5, 2.0f), bias(1, c.n_expert, 2, 0, 0.1f);
        RoutingMemory expected(c.n_tokens, c.n_used, c.n_expert);
        RouteArgs args{gating,
                       variant ? bias.matrix().data : nullptr,
                       c.n_used,
                       c.n_group,
                       c.n_group_used,
                       variant,
                       variant ? 2.5f : 1.0f};
        ref_->route(logits.matrix(), args, expected.get());

        DeviceMatrix device_logits(*backend, logits);
        const auto device_bias = row_values(*backend, bias);
        const DeviceRouting found(*backend, expected.get());
        Routing routing = found.get();
        for (int32_t* array : {routing.expert, routing.row, routing.token}) {
          backend->zero(array, static_cast<size_t>(routing.n_slots()) * sizeof(int32_t));
        }
        if (variant) args.bias = device_bias.data();
        backend->route(device_logits.matrix(), args, routing);
        const auto same = [](const std::vector<int32_t>& device, const int32_t* host) {
          return std::equal(device.begin(), device.end(), host);
        };
        const Routing& host = expected.get();
        EXPECT_TRUE(same(found.expert().values(), host.expert));
        EXPECT_TRUE(same(found.row().values(), host.row));
        EXPECT_TRUE(same(found.token().values(), host.token));
        EXPECT_TRUE(same(found.row_begin().values(), host.row_begin));
        const std::vector<float> weights = found.weight().values();
        for (size_t s = 0; s < weights.size(); ++s) EXPECT_NEAR(weights[s], host.weight[s], 2e-6f * host.weight[s]);
      }
    }
  }
}

// Experts that are given, not selected.
TEST_F(CudaExperts, Chosen) {
  const auto backend = cuda();
  const std::vector<int32_t> chosen = {5, 0, 3, 3, 1, 6};  // two of seven for each token
  const DeviceValues<int32_t> device_chosen(*backend, chosen);
  for (const Gating gating : {Gating::kSigmoid, Gating::kSoftmaxWeight}) {
    Activations logits(3, 7, 1);
    RoutingMemory expected(3, 2, 7);
    RouteArgs args{gating, nullptr, 2, 1, 1, true, 1.5f, chosen.data()};
    ref_->route(logits.matrix(), args, expected.get());
    DeviceMatrix device_logits(*backend, logits);
    RoutingMemory empty(3, 2, 7);
    const DeviceRouting found(*backend, empty.get());
    Routing routing = found.get();
    args.chosen = device_chosen.data();
    backend->route(device_logits.matrix(), args, routing);
    EXPECT_EQ(found.expert().values(), chosen);
    const std::vector<int32_t> rows = found.row().values(), begins = found.row_begin().values();
    EXPECT_TRUE(std::equal(rows.begin(), rows.end(), expected.get().row));
    EXPECT_TRUE(std::equal(begins.begin(), begins.end(), expected.get().row_begin));
    const std::vector<float> weights = found.weight().values();
    for (size_t s = 0; s < weights.size(); ++s) EXPECT_NEAR(weights[s], expected.get().weight[s], 2e-6f);
  }
}

// Equal scores go to the earlier expert and the earlier group.
TEST_F(CudaExperts, Ties) {
  const auto backend = cuda();
  Activations logits(2, 64, 1);
  for (int64_t t = 0; t < 2; ++t) std::fill_n(logits.matrix().row(t), 64, t == 0 ? 0.0f : 1.5f);
  RoutingMemory expected(2, 5, 64);
  const RouteArgs args{Gating::kSigmoid, nullptr, 5, 8, 2, false, 1.0f};
  ref_->route(logits.matrix(), args, expected.get());
  DeviceMatrix device_logits(*backend, logits);
  const DeviceRouting found(*backend, expected.get());
  Routing routing = found.get();
  backend->zero(routing.expert, 10 * sizeof(int32_t));
  backend->route(device_logits.matrix(), args, routing);
  const std::vector<int32_t> experts = found.expert().values();
  for (size_t s = 0; s < experts.size(); ++s) EXPECT_EQ(experts[s], expected.get().expert[s]);
}

TEST_F(CudaExperts, GatherCombineAndBiases) {
  cuda_emulator::under_all_schedules([&] {
    const auto backend = cuda();
    constexpr int64_t kTokens = 11, kUsed = 3, kExperts = 5, kCols = 37;
    RoutingMemory routing(kTokens, kUsed, kExperts);
    fill_randomly(routing.get(), 2);
    const DeviceRouting device_routing(*backend, routing.get());
    Activations x(kTokens, kCols, 1), biases(kExperts, kCols, 2, 0);
    Activations found_rows(kTokens * kUsed, kCols, 3), expected_rows(kTokens * kUsed, kCols, 3);
    Activations found(kTokens, kCols, 4), expected(kTokens, kCols, 4);
    DeviceMatrix device_x(*backend, x), rows(*backend, found_rows), out(*backend, found);
    const Matrix m = biases.matrix();
    const DeviceValues<float> device_biases(*backend, std::vector<float>(m.data, m.data + kExperts * kCols));
    const auto work = [](Backend& on, Matrix from, const Routing& r, const float* bias, Matrix between, Matrix to) {
      on.gather(from, r, between);
      on.add_row_experts(between, bias, r);
      on.combine(between, r, to);
    };
    work(*backend, device_x.matrix(), device_routing.get(), device_biases.data(), rows.matrix(), out.matrix());
    rows.download();
    out.download();
    work(*ref_, x.matrix(), routing.get(), m.data, expected_rows.matrix(), expected.matrix());
    EXPECT_TRUE(identical(found_rows.matrix(), expected_rows.matrix()));
    expect_close(found.matrix(), expected.matrix(), 1e-6f);
    EXPECT_TRUE(found_rows.untouched_outside());
    EXPECT_TRUE(found.untouched_outside());
  });
}

TEST_F(CudaExperts, Moments) {
  const auto backend = cuda();
  for (const int64_t cols : {3, 64, 130}) {
    constexpr int64_t kTokens = 20, kUsed = 2, kExperts = 3;
    const auto n = static_cast<size_t>(cols);
    RoutingMemory routing(kTokens, kUsed, kExperts);
    fill_randomly(routing.get(), 2);
    const DeviceRouting device_routing(*backend, routing.get());
    Activations x(kTokens * kUsed, cols, 1);
    Activations y(kTokens * kUsed, cols, 2);
    DeviceMatrix device_x(*backend, x), device_y(*backend, y);
    std::vector<double> squares(kExperts * n, 1.0);
    std::vector<float> moments(kExperts * n * n, 1.0f);
    std::vector<int64_t> counts(kExperts, 5);
    const DeviceValues<double> device_squares(*backend, squares);
    const DeviceValues<float> device_moments(*backend, moments);
    const DeviceValues<int64_t> device_counts(*backend, counts);
    const auto collect = [](Backend& on, Matrix rows, Matrix others, const Routing& r, double* sq, float* mo,
                            int64_t* co) {
      on.sum_squares(rows, sq);
      on.sum_squares_experts(rows, r, sq, co);
      on.second_moments(rows, rows, mo);
      on.second_moments_experts(rows, others, r, mo, co);
    };
    collect(*backend, device_x.matrix(), device_y.matrix(), device_routing.get(), device_squares.data(),
            device_moments.data(), device_counts.data());
    collect(*ref_, x.matrix(), y.matrix(), routing.get(), squares.data(), moments.data(), counts.data());
    EXPECT_EQ(device_counts.values(), counts);
    const std::vector<double> found_squares = device_squares.values();
    for (size_t i = 0; i < squares.size(); ++i) EXPECT_NEAR(found_squares[i], squares[i], 1e-13 * squares[i]);
    const std::vector<float> found_moments = device_moments.values();
    for (size_t i = 0; i < moments.size(); ++i) ASSERT_NEAR(found_moments[i], moments[i], 2e-4f) << i;
  }
}

}  // namespace
}  // namespace steelyard::compute
