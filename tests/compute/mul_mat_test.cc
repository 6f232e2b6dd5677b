// Matrix products and embeddings in every weight type: the cpu backend against the reference, the reference against a
// product by hand.
#include "base/parallel.h"
#include "compute/activations.h"
#include "support.h"

namespace steelyard::compute {
namespace {

class MulMat : public testing::TestWithParam<formats::Type> {
 protected:
  // Multiples of the longest block, one that no vector divides for types without blocks.
  static std::vector<int64_t> widths() {
    const int64_t block = format(GetParam()).block_len;
    return block == 1 ? std::vector<int64_t>{1, 33, 300} : std::vector<int64_t>{block, 3 * block};
  }
  const std::unique_ptr<Backend> cpu_ = make_backend("cpu"), ref_ = make_backend("ref");
  const std::unique_ptr<Backend> fast_ = make_backend("cpu", Precision::kFast);
};

std::vector<formats::Type> weight_types() {
  std::vector<formats::Type> types;
  for (const formats::Format* format : formats::all_formats()) {
    if (format->decode != nullptr && format->encoder != nullptr) types.push_back(format->type);
  }
  return types;
}

INSTANTIATE_TEST_SUITE_P(Types, MulMat, testing::ValuesIn(weight_types()),
                         [](const auto& instance) { return std::string(format(instance.param).name); });

TEST_P(MulMat, IsTheProductWithTheDecodedWeight) {
  const int64_t n_in = widths().back(), n_out = 5;
  const RandomWeight weight(GetParam(), n_in, n_out, 2, 1);
  Activations x(3, n_in, 2), y(3, n_out, 3);
  ref_->mul_mat(weight.get(), 1, x.matrix(), y.matrix());
  std::vector<float> row(static_cast<size_t>(n_in));
  for (int64_t o = 0; o < n_out; ++o) {
    weight.get().format->decode(weight.get().data + (n_out + o) * weight.get().row_bytes(),
                                n_in / weight.get().format->block_len, row.data());
    for (int64_t t = 0; t < 3; ++t) {
      double sum = 0;
      for (int64_t i = 0; i < n_in; ++i) sum += static_cast<double>(row[i]) * x.matrix().row(t)[i];
      EXPECT_FLOAT_EQ(y.matrix().row(t)[o], static_cast<float>(sum));
    }
  }
}

TEST_P(MulMat, CpuAgrees) {
  for (const int64_t n_in : widths()) {
    for (const int64_t n_out : {1, 7, 66}) {
      const RandomWeight weight(GetParam(), n_in, n_out, 2, 1);
      for (const int64_t rows : {1, 2, 8, 9, 65}) {
        for (const int64_t slice : {0, 1}) {
          Activations x(rows, n_in, 2), found(rows, n_out, 3), expected(rows, n_out, 3);
          cpu_->mul_mat(weight.get(), slice, x.matrix(), found.matrix());
          ref_->mul_mat(weight.get(), slice, x.matrix(), expected.matrix());
          expect_close(found.matrix(), expected.matrix(), 1e-6f, std::sqrt(static_cast<float>(n_in)));
          EXPECT_TRUE(found.untouched_outside()) << rows << " " << n_in << " " << n_out;
          fast_->mul_mat(weight.get(), slice, x.matrix(), found.matrix());
          // Five deviations: bytes for types of groups, 16-bit codes for others.
          const bool bytes = weight.get().format->unpack != nullptr;
          const float tolerance = GetParam() == formats::Type::F32 ? 1e-6f : bytes ? 2.5e-2f : 1e-3f;
          expect_close(found.matrix(), expected.matrix(), tolerance, std::sqrt(static_cast<float>(n_in)));
          EXPECT_TRUE(found.untouched_outside()) << rows << " " << n_in << " " << n_out;
        }
      }
    }
  }
}

TEST_P(MulMat, ExpertsAgree) {
  const int64_t n_in = widths().back(), n_out = 7;
  const RandomWeight weight(GetParam(), n_in, n_out, 5, 1);
  for (const int64_t n_tokens : {1, 3, 65}) {
    RoutingMemory routing(n_tokens, 2, 5);
    fill_randomly(routing.get(), 4);
    const int64_t n_slots = routing.get().n_slots();
    Activations x(n_slots, n_in, 2), found(n_slots, n_out, 3), expected(n_slots, n_out, 3), by_hand(n_slots, n_out, 3);
    mul_mat_experts(*cpu_, weight.get(), x.matrix(), routing.get(), found.matrix());
    mul_mat_experts(*ref_, weight.get(), x.matrix(), routing.get(), expected.matrix());
    expect_close(found.matrix(), expected.matrix(), 1e-6f, std::sqrt(static_cast<float>(n_in)));
    EXPECT_TRUE(found.untouched_outside());
    for (int64_t slot = 0; slot < n_slots; ++slot) {  // the expert of the slot, and no other
      const int64_t row = routing.get().row[slot];
      ref_->mul_mat(weight.get(), routing.get().expert[slot], x.matrix().slice(row, 1), by_hand.matrix().slice(row, 1));
    }
    EXPECT_TRUE(identical(expected.matrix(), by_hand.matrix()));
  }
}

// The products of a layer's routed experts and of its shared expert share a call. Each gives the same result as alone.
TEST_P(MulMat, RoutedAndOtherProductsShareACall) {
  const int64_t n_in = widths().back(), n_out = 20;
  const RandomWeight gate(GetParam(), n_in, n_out, 5, 1), up(GetParam(), n_in, n_out, 5, 2),
      shared(GetParam(), n_in, n_out, 1, 3);
  for (Backend* backend : {cpu_.get(), fast_.get(), ref_.get()}) {
    for (const int64_t n_tokens : {1, 9}) {
      RoutingMemory routing(n_tokens, 2, 5);
      fill_randomly(routing.get(), 4);
      const int64_t n_slots = routing.get().n_slots();
      Activations x(n_slots, n_in, 5), f(n_tokens, n_in, 6);
      const auto run = [&](bool together) {
        std::vector<Activations> out;
        for (const int64_t rows : {n_slots, n_slots, n_tokens}) out.emplace_back(rows, n_out, 7);
        const std::array<Product, 3> products = {
            Product{&gate.get(), 0, x.matrix(), out[0].matrix(), &routing.get()},
            Product{&up.get(), 0, x.matrix(), out[1].matrix(), &routing.get()},
            Product{&shared.get(), 0, f.matrix(), out[2].matrix()},
        };
        if (together) backend->mul_mats(products);
        for (size_t i = 0; !together && i < products.size(); ++i) backend->mul_mats(std::span(products).subspan(i, 1));
        return out;
      };
      std::vector<Activations> one = run(false), many = run(true);
      for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(identical(one[i].matrix(), many[i].matrix())) << i;
    }
  }
}

// What a token gets has the same bits whatever tokens are beside it, also where it is the only one of an expert.
TEST_P(MulMat, BitsDoNotDependOnOtherTokens) {
  const int64_t n_in = widths().back(), n_out = 20, n_expert = 5;
  const RandomWeight weight(GetParam(), n_in, n_out, n_expert, 1);
  Activations x(65, n_in, 2);
  for (Backend* backend : {cpu_.get(), fast_.get(), ref_.get()}) {
    Activations all(65, n_out, 3);
    backend->mul_mat(weight.get(), 1, x.matrix(), all.matrix());
    for (const int64_t n : {2, 3, 9, 64}) {
      Activations some(n, n_out, 3);
      backend->mul_mat(weight.get(), 1, x.matrix().slice(65 - n, n), some.matrix());
      EXPECT_TRUE(identical(some.matrix(), all.matrix().slice(65 - n, n))) << n;
    }
    for (const int64_t n : {1, 2, 64}) {  // the others all go to another expert
      RoutingMemory routing(n + 1, 1, n_expert);
      for (int64_t t = 0; t <= n; ++t) {
        routing.get().expert[t] = t == 0 ? 1 : 4;
        routing.get().weight[t] = 1;
      }
      sort_by_expert(routing.get());
      Activations own(n + 1, n_out, 3);
      mul_mat_experts(*backend, weight.get(), x.matrix().slice(0, n + 1), routing.get(), own.matrix());
      EXPECT_TRUE(identical(own.matrix().slice(0, 1), all.matrix().slice(0, 1))) << n;
      EXPECT_TRUE(own.untouched_outside());
    }
  }
}

// A row of the result has the same bits alone, among others, and for any number of threads.
TEST_P(MulMat, BitsDoNotDependOnThreads) {
  const int before = omp_get_max_threads();
  const int64_t n_in = widths().back(), n_out = 200;
  const RandomWeight weight(GetParam(), n_in, n_out, 1, 1);
  for (Backend* backend : {cpu_.get(), fast_.get()}) {
    for (const int64_t rows : {1, 5, 130}) {
      Activations x(rows, n_in, 2), one(rows, n_out, 3), many(rows, n_out, 3);
      set_thread_count(1);
      backend->mul_mat(weight.get(), 0, x.matrix(), one.matrix());
      for (const int threads : {2, 5}) {
        set_thread_count(threads);
        backend->mul_mat(weight.get(), 0, x.matrix(), many.matrix());
        EXPECT_TRUE(identical(one.matrix(), many.matrix())) << rows << " rows, " << threads << " threads";
      }
    }
  }
  set_thread_count(before);
}

// Products of one call: of different widths, some of few tokens and some of many, some with the same input.
TEST_P(MulMat, SeveralAtOnce) {
  const int64_t wide = widths().back(), narrow = widths().front();
  const RandomWeight a(GetParam(), wide, 40, 1, 1), b(GetParam(), wide, 7, 3, 2),
      c(formats::Type::F32, narrow, 33, 1, 3);
  Activations x(20, wide, 4), y(3, narrow, 5), z(1, wide, 6);
  struct Case {
    const Weight& weight;
    int64_t slice;
    Matrix x;
  };
  const Case cases[] = {{a.get(), 0, x.matrix()}, {b.get(), 2, x.matrix()}, {c.get(), 0, y.matrix()},
                        {b.get(), 1, z.matrix()}, {a.get(), 0, z.matrix()}, {b.get(), 0, x.matrix().slice(5, 9)}};
  for (Backend* backend : {cpu_.get(), fast_.get(), ref_.get()}) {
    std::vector<Activations> together, alone;
    for (const Case& each : cases) {
      together.emplace_back(each.x.rows, each.weight.n_out, 7);
      alone.emplace_back(each.x.rows, each.weight.n_out, 8);
    }
    std::vector<Product> products;
    for (size_t i = 0; i < std::size(cases); ++i) {
      products.push_back({&cases[i].weight, cases[i].slice, cases[i].x, together[i].matrix()});
      backend->mul_mat(cases[i].weight, cases[i].slice, cases[i].x, alone[i].matrix());
    }
    backend->mul_mats(products);
    for (size_t i = 0; i < std::size(cases); ++i) EXPECT_TRUE(identical(together[i].matrix(), alone[i].matrix())) << i;
  }
}

TEST_P(MulMat, Embed) {
  const int64_t n_in = widths().back(), n_vocab = 11;
  const RandomWeight table(GetParam(), n_in, n_vocab, 1, 1);
  const std::vector<int32_t> ids = {10, 0, 3, 3, 7};
  const auto n = static_cast<int64_t>(ids.size());
  Activations found(n, n_in, 2), expected(n, n_in, 2);
  for (int64_t t = 0; t < n; ++t) {
    table.get().format->decode(table.get().row(0, ids[static_cast<size_t>(t)]), n_in / table.get().format->block_len,
                               expected.matrix().row(t));
  }
  for (Backend* backend : {cpu_.get(), ref_.get()}) {
    backend->embed(table.get(), ids, found.matrix());
    EXPECT_TRUE(identical(found.matrix(), expected.matrix()));
    EXPECT_TRUE(found.untouched_outside());
  }
}

// Rows that are longer than the part that is decoded at a time.
TEST(MulMatPanels, Several) {
  const int64_t n_in = 4096, n_out = 600;
  const RandomWeight weight(formats::Type::BF16, n_in, n_out, 1, 1);
  Activations x(9, n_in, 2), found(9, n_out, 3), expected(9, n_out, 3);
  make_backend("cpu")->mul_mat(weight.get(), 0, x.matrix(), found.matrix());
  make_backend("ref")->mul_mat(weight.get(), 0, x.matrix(), expected.matrix());
  expect_close(found.matrix(), expected.matrix(), 1e-6f, std::sqrt(static_cast<float>(n_in)));
  EXPECT_TRUE(found.untouched_outside());
}

}  // namespace
}  // namespace steelyard::compute
