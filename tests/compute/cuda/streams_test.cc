// Recurrences, residual streams and what is chosen of the past, on the device against the reference.
#include "compute/cuda/on_device.h"

namespace steelyard::compute {
namespace {

using Operands = std::vector<Matrix>;

class CudaStreams : public CudaTest {
 protected:
  // Once for each schedule.
  void compare(const std::vector<Activations>& operands, float tolerance, const Work& work,
               float least_scale = 1e-30f) {
    cuda_emulator::under_all_schedules([&] { expect_same(*cuda(), operands, tolerance, work, least_scale); }, {1, 2});
  }
};

// A sequence in pieces. The state has no gaps between its rows.
TEST_F(CudaStreams, Convolution) {
  for (const int64_t dilation : {1, 3}) {
    for (const bool plain : {false, true}) {
      const std::vector<Activations> operands = {
          {9, 40, 1}, {3, 40, 2, 0}, {1, 40, 3, 0}, {2 * dilation, 40, 4, 0}, {9, 40, 5}};
      expect_same(
          *cuda(), operands, 1e-6f,
          [&](Backend& b, const Operands& on) {
            const ConvArgs args{on[1].data, 3, plain ? nullptr : on[2].data, !plain, dilation};
            for (const auto& [begin, n] : {std::pair{0, 1}, {1, 5}, {6, 3}})
              b.causal_conv(args, on[0].slice(begin, n), on[3].data, on[4].slice(begin, n));
          },
          1.0f);
    }
  }
}

// The order of a state's values is the device's own; for all but the rule's tiles of columns it is the reference's.
TEST_F(CudaStreams, DeltaRuleByChannel) {
  struct Case {
    int64_t n_head, n_head_k, head;
    bool by_channel;
    float bound;
  };
  for (const Case& c : {Case{4, 2, 20, true, 0}, Case{2, 2, 40, true, -5}, Case{2, 1, 16, false, -5}}) {
    constexpr int64_t kTokens = 7;
    const int64_t keys = c.n_head_k * c.head, width = c.n_head * c.head, n_alpha = c.by_channel ? width : c.n_head;
    std::vector<Activations> operands = {{kTokens, 2 * keys + width, 1},
                                         {kTokens, c.n_head, 2},
                                         {kTokens, n_alpha, 3},
                                         {1, n_alpha, 4, 0},
                                         {1, c.n_head, 5, 0},
                                         {width, c.head, 6, 0, 0.1f},
                                         {kTokens, width, 7}};
    for (int64_t h = 0; h < c.n_head; ++h) {
      float& decay = operands[4].matrix().row(0)[h];
      decay = -std::abs(decay);
    }
    expect_same(
        *cuda(), operands, 1e-5f,
        [&](Backend& b, const Operands& on) {
          for (const auto& [begin, n] : {std::pair{0, 4}, {4, 3}}) {
            const auto rows = [&](const Matrix& all) { return all.slice(begin, n); };
            DeltaRuleArgs args{rows(on[0]).columns(0, keys),
                               rows(on[0]).columns(keys, keys),
                               rows(on[0]).columns(2 * keys, width),
                               rows(on[1]),
                               rows(on[2]),
                               on[4].data,
                               on[3].data,
                               c.n_head,
                               c.n_head_k,
                               c.head,
                               false,
                               1e-6f};
            args.bound = c.bound;
            b.delta_rule(args, on[5].data, rows(on[6]));
          }
        },
        0.1f);
  }
}

TEST_F(CudaStreams, StateSpace) {
  struct Case {
    int64_t n_head, head, n_group, n_state;
  };
  for (const Case& c : {Case{4, 3, 2, 5}, Case{2, 9, 1, 70}}) {
    constexpr int64_t kTokens = 6;
    std::vector<Activations> operands = {{kTokens, c.n_head * c.head, 1},
                                         {kTokens, c.n_group * c.n_state, 2},
                                         {kTokens, c.n_group * c.n_state, 3},
                                         {kTokens, c.n_head, 4},
                                         {3, c.n_head, 5, 0},
                                         {c.n_head * c.head, c.n_state, 6, 0},
                                         {kTokens, c.n_head * c.head, 7}};
    for (int64_t h = 0; h < c.n_head; ++h) operands[4].matrix().row(1)[h] = -0.5f;
    compare(
        operands, 1e-5f,
        [&](Backend& b, const Operands& on) {
          for (const auto& [begin, n] : {std::pair{0, 2}, {2, 4}}) {
            const auto rows = [&](const Matrix& all) { return all.slice(begin, n); };
            b.state_space({rows(on[0]), rows(on[1]), rows(on[2]), rows(on[3]), on[4].row(0), on[4].row(1), on[4].row(2),
                           c.n_head, c.head, c.n_group, c.n_state},
                          on[5].data, rows(on[6]));
          }
        },
        1.0f);
  }
}

TEST_F(CudaStreams, HyperWeights) {
  for (const int64_t n : {4, 5}) {
    compare({{3, n * (n + 2), 1}, {1, n * (n + 2), 2, 0}, {1, 3, 3, 0}, {3, n, 4}}, 2e-6f,
            [&](Backend& b, const Operands& on) {
              b.hyper_weights({on[1].data, on[2].data, n, 20, 1e-6f}, on[0]);
              b.hyper_weights({on[1].data, on[2].data, n, 20, 1e-6f}, on[3]);
            });
  }
}

TEST_F(CudaStreams, MixGateAndPool) {
  compare({{3, 4 * 21, 1}, {3, 4, 2}, {3, 16, 3}, {3, 21, 4}, {3, 4 * 21, 5}, {3, 1, 6}, {1, 21, 7}}, 2e-6f,
          [](Backend& b, const Operands& on) {
            b.mix_streams(on[0], on[1], 21, on[3], false);
            b.mix_streams(on[3], on[1], 21, on[4], true);
            b.mix_streams(on[0], on[2], 21, on[4], true);
            b.similarity_gate(on[0], on[4], on[5]);
            b.softmax_pool(on[0].columns(3, 21), on[4].columns(40, 21), 2, on[6]);  // and a row that is left
          });
}

TEST_F(CudaStreams, IndexScores) {
  constexpr int64_t kRows = 70, kHeads = 3, kWidth = 32, kKeys = 5;
  for (const formats::Type type : {formats::Type::F32, formats::Type::F16, formats::Type::Q8_0}) {
    const formats::Format& format = formats::format(type);
    const int64_t stride = kWidth / format.block_len * format.block_bytes + 4;
    // Keys are bytes in a matrix of their own.
    std::vector<Activations> operands = {
        {kRows, kHeads * kWidth, 1}, {kRows, kHeads, 2}, {1, kKeys * stride, 3, 0}, {kRows, kKeys, 4}};
    const auto keys_in = [&](Matrix memory) {
      return TypedRows{&format, reinterpret_cast<std::byte*>(memory.data), kKeys, kWidth, stride};
    };
    Activations keys(kKeys, kWidth, 5);
    ref_->store(keys.matrix(), keys_in(operands[2].matrix()));
    const auto work = [&](Backend& b, const Operands& on) {
      b.index_scores(on[0], on[1], keys_in(on[2]), on[3]);
      b.zero(on[2].data, static_cast<size_t>(kKeys * stride));  // as numbers they mean nothing
    };
    compare(operands, 1e-5f, work, 1.0f);
  }
}

TEST_F(CudaStreams, Select) {
  for (const int64_t n_entries : {1, 40, 100}) {
    Activations scores(6, n_entries, 1);
    for (int64_t t = 0; t < 6; ++t) {  // many are equal, some of them zeros of both signs
      for (int64_t b = 0; b < n_entries; ++b) scores.matrix().row(t)[b] = std::round(scores.matrix().row(t)[b] * 3);
    }
    for (const int64_t block : {1, 4}) {
      const int64_t first = std::max<int64_t>(0, n_entries * block - 5);
      for (const int64_t n_best : {0, 1, 7, 1000}) {
        expect_same(*cuda(), {scores, {6, n_entries, 2}, {6, (n_entries + 2) * block + 2, 3}}, 0,
                    [&](Backend& b, const Operands& on) {
                      b.select({first, block, n_best, false}, on[0], on[1]);
                      b.select({first, block, n_best, true}, on[0], on[2]);
                    });
      }
    }
  }
  compare({{3, 20, 1}, {3, 20, 2}}, 0, [](Backend& b, const Operands& on) {
    b.select({17, 1, 6, false}, on[0], on[1]);
  });
}

}  // namespace
}  // namespace steelyard::compute
