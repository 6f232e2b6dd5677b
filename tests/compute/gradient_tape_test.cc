// The tape on small compositions as layers have them, in which operations overwrite their operands, against differences
// of what they compute.
#include "compute/gradient_tape.h"

#include <functional>
#include <string>

#include "compute/differences.h"
#include "support.h"

namespace steelyard::compute {
namespace {

constexpr int64_t kTokens = 5, kWidth = 12;

class Tape : public testing::TestWithParam<const char*> {
 protected:
  using Program = std::function<Matrix(const std::vector<Matrix>& inputs)>;

  // What the tape finds as the gradients of the weighted sum of a program's result.
  std::vector<Numbers> gradients(std::span<Activations*> inputs, const Program& program, bool recorded = true,
                                 GradientObserver* observer = nullptr) {
    scratch_.reset();
    if (recorded) tape_.record();
    const std::vector<Matrix> views = uploaded(inputs);
    const Matrix result = program(views);
    loss_ = weighted_sum(result, weights(result));
    std::vector<Numbers> found;
    if (!recorded) return found;
    tape_.add_gradient(result, weights(result));
    tape_.backward(observer);
    for (const Matrix& view : views) found.push_back(numbers(tape_.gradient(view)));
    return found;
  }

  // Inputs are tensors of their own in each run; parameters are read where they are, and their gradients collected.
  void expect_differences(std::vector<Activations*> inputs, std::vector<Matrix> parameters, const Program& program,
                          double tolerance = 1e-4) {
    std::vector<std::vector<float>> sums;
    for (const Matrix& parameter : parameters) {
      sums.emplace_back(static_cast<size_t>(parameter.rows * parameter.cols));
      tape_.collect(parameter.data, sums.back().data());
    }
    const std::vector<Numbers> found = gradients(inputs, program), again = gradients(inputs, program);
    EXPECT_EQ(again, found);  // a recording starts from zeros
    std::vector<Input> all;
    for (size_t i = 0; i < inputs.size(); ++i) all.push_back({inputs[i]->matrix(), found[i]});
    for (size_t i = 0; i < parameters.size(); ++i) {
      Numbers gradient = numbers(as_row(sums[i]));
      for (double& sum : gradient) sum /= 2;  // of two recordings
      all.push_back({parameters[i], gradient});
    }
    expect_gradients(
        all,
        [&] {
          gradients(inputs, program, /*recorded=*/false);
          return loss_;
        },
        0.03, on_cpu() ? 1e-3 : tolerance);
  }

  // Which sums in floats.
  static bool on_cpu() { return std::string(GetParam()) == "cpu"; }

  void product(const RandomWeight& weight, Matrix x, Matrix out, const Routing* routing = nullptr) {
    const Product one{&weight.get(), 0, x, out, routing};
    tape_.mul_mats({&one, 1});
  }
  static Matrix values(const RandomWeight& weight) {
    const int64_t n = weight.get().n_in * weight.get().n_out * weight.get().n_slices;
    return {reinterpret_cast<float*>(const_cast<std::byte*>(weight.get().data)), 1, n, n};
  }
  Routing routing(int64_t n_used, int64_t n_expert) {
    const int64_t n = kTokens * n_used;
    return {kTokens,
            n_used,
            n_expert,
            scratch_.array<int32_t>(n),
            scratch_.array<float>(n),
            scratch_.array<int32_t>(n),
            scratch_.array<int32_t>(n),
            scratch_.array<int32_t>(n_expert + 1)};
  }

  const std::unique_ptr<Backend> backend_ = make_backend(GetParam());
  GradientTape tape_{*backend_};
  Scratch scratch_{tape_};
  Activations x_{kTokens, kWidth, 1}, gains_{1, kWidth, 2, 0};

 private:
  std::vector<Matrix> uploaded(std::span<Activations*> inputs) {
    std::vector<Matrix> views;
    for (Activations* input : inputs) {
      const Matrix x = input->matrix();
      views.push_back(scratch_.matrix(x.rows, x.cols));
      backend_->copy(x, views.back());
    }
    return views;
  }
  Matrix weights(Matrix result) {
    if (weights_ == nullptr) weights_ = std::make_unique<Activations>(result.rows, result.cols, 99);
    return weights_->matrix();
  }

  std::unique_ptr<Activations> weights_;  // of the loss
  double loss_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Backends, Tape, testing::Values("ref", "cpu"),
                         [](const auto& instance) { return std::string(instance.param); });

// The norm overwrites its input, the others what it gave. Only some columns are normed, as with latent attention, and
// the same gains serve twice.
TEST_P(Tape, RowsInPlace) {
  Activations bias(1, kWidth, 3, 0), few_gains(1, 5, 4, 0);
  expect_differences({&x_}, {gains_.matrix(), bias.matrix(), few_gains.matrix()}, [&](const std::vector<Matrix>& in) {
    const Matrix x = in[0], out = scratch_.matrix(kTokens, kWidth);
    tape_.rms_norm(x.columns(2, 5), few_gains.matrix().data, 0.1f, x.columns(2, 5));
    tape_.rms_norm(x, gains_.matrix().data, 0.1f, x);
    tape_.add_row(x, bias.matrix().data);
    tape_.rms_norm(x, gains_.matrix().data, 0.1f, out);
    tape_.softcap(out, 1.5f);
    tape_.scale(out, 0.7f);
    tape_.add(out, x);
    return out;
  });
}

// A stream that is kept while another one changes, over what was kept before.
TEST_P(Tape, CopyReplacesWhatWasThere) {
  Activations before(kTokens, kWidth, 3);
  expect_differences({&x_, &before}, {}, [&](const std::vector<Matrix>& in) {
    const Matrix out = scratch_.matrix(kTokens, kWidth);
    tape_.copy(in[1], out);
    tape_.copy(in[0], in[1]);
    tape_.softcap(in[0], 1.5f);
    tape_.add(out, in[1]);
    tape_.add(out, in[0]);
    return out;
  });
}

// A layer norm made of its parts, a norm without gains, and gates of other kinds.
TEST_P(Tape, LayerNormAndGates) {
  Activations soft(kTokens, kWidth, 3), gate(kTokens, kWidth, 4), up(kTokens, kWidth, 5);
  expect_differences({&x_, &soft, &gate, &up}, {gains_.matrix()}, [&](const std::vector<Matrix>& in) {
    const Matrix x = in[0], normed = scratch_.matrix(kTokens, kWidth);
    tape_.center(x);
    tape_.rms_norm(x, gains_.matrix().data, 0.1f, x);
    tape_.rms_norm(x, nullptr, 0.1f, normed);
    tape_.apply_gate(Gate::kSoftplus, normed, in[1]);
    tape_.gated({Activation::kSitu, 2.0f, 3.0f}, in[2], in[3]);
    tape_.gated(Activation::kProduct, x, in[2]);
    tape_.add(x, normed);
    return x;
  });
}

// The square of a gate has nothing beside it. Its slope bends at 0, which no value is near.
TEST_P(Tape, ReluSquared) {
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t c = 0; c < kWidth; ++c) {
      float& value = x_.matrix().row(t)[c];
      if (std::abs(value) < 0.5f) value += 1.1f;
    }
  }
  expect_differences({&x_}, {}, [&](const std::vector<Matrix>& in) {
    tape_.gated(Activation::kReluSquared, in[0], {});
    return in[0];
  });
}

// Residual, norm, three products of one input, a gate in place, and a product that is added to the residual.
TEST_P(Tape, FeedForward) {
  const RandomWeight gate(formats::Type::F32, kWidth, 9, 1, 1), up(formats::Type::F32, kWidth, 9, 1, 2),
      beside(formats::Type::F32, kWidth, kWidth, 1, 3), down(formats::Type::F32, 9, kWidth, 1, 4);
  expect_differences(
      {&x_}, {gains_.matrix(), values(gate), values(up), values(beside), values(down)},
      [&](const std::vector<Matrix>& in) {
        const Matrix x = in[0], h = scratch_.matrix(kTokens, kWidth), g = scratch_.matrix(kTokens, 9),
                     u = scratch_.matrix(kTokens, 9), b = scratch_.matrix(kTokens, kWidth),
                     y = scratch_.matrix(kTokens, kWidth);
        tape_.rms_norm(x, gains_.matrix().data, 1e-5f, h);
        const Product products[] = {{&gate.get(), 0, h, g}, {&up.get(), 0, h, u}, {&beside.get(), 0, h, b}};
        tape_.mul_mats(products);
        tape_.scale(g, 0.3f);  // where activations bend
        tape_.gated(Activation::kSwiglu, g, u);
        product(down, g, y);
        tape_.add(y, b);
        tape_.add(x, y);
        return x;
      });
}

// Queries and keys are normed by head and turned in place, keys and values stored, the result gated in place. Of two
// sequences in one cache, the second has a position that was stored before. The output is copied into columns.
TEST_P(Tape, AttentionOverACache) {
  constexpr int64_t kHead = 4, kHeads = 2, kQueries = kHeads * kHead;
  Activations q(kTokens, kQueries, 3), kv(kTokens, 2 * kHead, 4), gate(kTokens, kQueries, 5), sinks(1, kHeads, 6, 0),
      head_gains(1, kHead, 7, 0), cos(kTokens, 1, 8, 0), sin(kTokens, 1, 9, 0);
  const RandomWeight output(formats::Type::F32, kQueries, 7, 1, 2);
  expect_differences(
      {&q, &kv, &gate}, {sinks.matrix(), head_gains.matrix(), values(output)}, [&](const std::vector<Matrix>& in) {
        const Matrix heads{in[0].data, kTokens * kHeads, kHead, kHead}, keys = in[1].columns(0, kHead);
        tape_.rms_norm(heads, head_gains.matrix().data, 0.1f, heads);
        tape_.rms_norm(keys, head_gains.matrix().data, 0.1f, keys);
        RopeArgs rope{kHeads, kHead, 2, RopePairs::kNeox, cos.matrix().data, sin.matrix().data, 0};
        tape_.rope(in[0], rope);
        rope.n_head = 1;
        tape_.rope(keys, rope);
        const formats::Format& f32 = formats::format(formats::Type::F32);
        const auto cache = [&] {
          return TypedRows{&f32, scratch_.array<std::byte>(kTokens * kHead * 4), kTokens, kHead, kHead * 4};
        };
        const TypedRows k = cache(), v = cache();
        tape_.store(keys, k);
        tape_.store(in[1].columns(kHead, kHead), v);
        const Matrix mixed = scratch_.matrix(kTokens, kQueries), out = scratch_.matrix(kTokens, 7),
                     wide = scratch_.matrix(kTokens, 10);
        const auto sequence = [&](int64_t row, int64_t n, int64_t past) {
          const TypedRows own_k = k.slice(row - past, n + past), own_v = v.slice(row - past, n + past);
          return Attention{
              {in[0].slice(row, n), own_k, own_v, kHeads, 1, kHead, kHead, 0.4f, past, 2, sinks.matrix().data},
              mixed.slice(row, n)};
        };
        const Attention first = sequence(0, 2, 0);
        tape_.attentions({&first, 1});
        const Attention second = sequence(3, 2, 1);
        tape_.attentions({&second, 1});
        const Matrix third = mixed.slice(2, 1);  // a row that attention does not write
        tape_.copy(in[2].slice(2, 1), third);
        tape_.apply_gate(Gate::kSigmoid, mixed, in[2]);
        product(output, mixed, out);
        backend_->zero(wide.data, static_cast<size_t>(kTokens * 10) * sizeof(float));
        tape_.copy(out, wide.columns(2, 7));
        return wide;
      });
}

// Several sequences in one call share their sinks. Scores are capped.
TEST_P(Tape, AttentionsOfOneCall) {
  Activations sinks(1, 3, 3, 0);
  expect_differences({&x_}, {sinks.matrix()}, [&](const std::vector<Matrix>& in) {
    const formats::Format& f32 = formats::format(formats::Type::F32);
    const auto rows = [&](int64_t begin, int64_t n) {
      return TypedRows{&f32, reinterpret_cast<std::byte*>(in[0].row(begin)), n, 4, in[0].stride * 4};
    };
    const Matrix out = scratch_.matrix(kTokens, 12);
    std::vector<Attention> sequences;
    for (const auto& [begin, n] : {std::pair<int64_t, int64_t>{0, 2}, {2, 3}}) {
      // Keys and values are the first columns of queries.
      sequences.push_back(
          {{in[0].slice(begin, n), rows(begin, n), rows(begin, n), 3, 1, 4, 4, 0.4f, 0, 0, sinks.matrix().data, 1.5f},
           out.slice(begin, n)});
    }
    tape_.attentions(sequences);
    return out;
  });
}

// Routing, experts with biases, a shared expert with a gate of its own. Logits are far apart, so that differences do
// not change the choice. Its weights are computed in floats, which shows in the differences.
TEST_P(Tape, Experts) {
  constexpr int64_t kExperts = 4, kUsed = 2, kSlots = kTokens * kUsed, kHidden = 6;
  Activations logits(kTokens, kExperts, 3, 5, 0.1f), router_bias(1, kExperts, 4, 0, 0.0f),
      gate_bias(kExperts, kHidden, 5, 0), down_bias(kExperts, kWidth, 6, 0);
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t e = 0; e < kExperts; ++e) logits.matrix().row(t)[e] += static_cast<float>((e + t) % kExperts);
  }
  const RandomWeight gate(formats::Type::F32, kWidth, kHidden, kExperts, 1),
      up(formats::Type::F32, kWidth, kHidden, kExperts, 2), down(formats::Type::F32, kHidden, kWidth, kExperts, 3),
      shared(formats::Type::F32, kWidth, kWidth, 1, 4), share(formats::Type::F32, kWidth, 1, 1, 5);
  for (const bool normalize : {false, true}) {
    expect_differences(
        {&x_, &logits},
        {router_bias.matrix(), gate_bias.matrix(), down_bias.matrix(), values(gate), values(up), values(down),
         values(shared), values(share)},
        [&](const std::vector<Matrix>& in) {
          Routing chosen = routing(kUsed, kExperts);
          tape_.add_row(in[1], router_bias.matrix().data);
          tape_.route(in[1], {Gating::kSigmoid, nullptr, kUsed, 1, 1, normalize, 1.5f}, chosen);
          const Matrix x = scratch_.matrix(kSlots, kWidth), g = scratch_.matrix(kSlots, kHidden),
                       u = scratch_.matrix(kSlots, kHidden), y = scratch_.matrix(kSlots, kWidth),
                       common = scratch_.matrix(kTokens, kWidth), part = scratch_.matrix(kTokens, 1),
                       out = scratch_.matrix(kTokens, kWidth);
          tape_.gather(in[0], chosen, x);
          const Product products[] = {{&gate.get(), 0, x, g, &chosen},
                                      {&up.get(), 0, x, u, &chosen},
                                      {&shared.get(), 0, in[0], common},
                                      {&share.get(), 0, in[0], part}};
          tape_.mul_mats(products);
          tape_.scale(g, 0.2f);
          tape_.scale(part, 0.2f);
          tape_.add_row_experts(g, gate_bias.matrix().data, chosen);
          tape_.gated(Activation::kGeglu, g, u);
          product(down, g, y, &chosen);
          tape_.add_row_experts(y, down_bias.matrix().data, chosen);
          tape_.combine(y, chosen, out);
          tape_.apply_gate(Gate::kSigmoid, common, part);
          tape_.add(out, common);
          chosen = {};  // the caller's ends with its call
          return out;
        },
        3e-4);
  }
}

// What happens before and after a recording does not pass back, and what an observer sees is the gradient of results.
TEST_P(Tape, OnlyWhatIsRecorded) {
  const RandomWeight weight(formats::Type::F32, kWidth, 3, 1, 1);
  struct Observer : GradientObserver {
    void product(Backend&, const Weight& of, int64_t slice, Matrix dz, const Routing* experts) override {
      EXPECT_EQ(of.name, "test.weight");
      EXPECT_EQ(slice, 0);
      EXPECT_EQ(experts, nullptr);
      seen.push_back(numbers(dz));
    }
    std::vector<Numbers> seen;
  } observer;
  Activations weights(kTokens, 3, 5), dx(kTokens, kWidth, 6, 5, 0.0f);
  const Matrix x = scratch_.matrix(kTokens, kWidth), out = scratch_.matrix(kTokens, 3);
  tape_.copy(x_.matrix(), x);  // from memory that is not the tape's
  tape_.scale(x, 3);
  tape_.record();
  product(weight, x, out);
  tape_.scale(out, 2);
  tape_.add_gradient(out, weights.matrix());
  tape_.backward(&observer);
  tape_.scale(out, 5);
  tape_.backward(&observer);  // nothing is left

  backend_->scale(weights.matrix(), 2);
  EXPECT_EQ(observer.seen, (std::vector<Numbers>{numbers(weights.matrix())}));
  const Product back{&weight.get(), 0, dx.matrix(), weights.matrix()};
  backend_->mul_mats_transposed({&back, 1});
  EXPECT_EQ(numbers(tape_.gradient(x)), numbers(dx.matrix()));
}

}  // namespace
}  // namespace steelyard::compute
