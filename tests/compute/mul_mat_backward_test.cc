// Backward passes of matrix products: the reference against differences of its products, the cpu backend against the
// reference in every type, and the stored scales that their gradients are for.
#include <array>

#include "base/parallel.h"
#include "compute/differences.h"
#include "support.h"

namespace steelyard::compute {
namespace {

// A product's shape in a test, and whether its rows go through experts.
struct Shape {
  int64_t n_in, n_out, n_tokens;
  bool experts = false;
};

constexpr int64_t kSlices = 4, kUsed = 2, kSlice = 2;

// One weight, inputs, gradients of the results and the routing.
class Case {
 public:
  Case(formats::Type type, const Shape& shape)
      : shape_(shape),
        weight_(type, shape.n_in, shape.n_out, kSlices, 1),
        routing_(shape.n_tokens, kUsed, kSlices),
        x_(n_rows(), shape.n_in, 2),
        dz_(n_rows(), shape.n_out, 3),
        out_(n_rows(), shape.n_out, 4) {
    fill_randomly(routing_.get(), 5);
  }

  const Weight& weight() const { return weight_.get(); }
  int64_t n_rows() const { return shape_.n_tokens * (shape_.experts ? kUsed : 1); }
  Matrix x() { return x_.matrix(); }
  Product product(Matrix x, Matrix out) {
    return {&weight(), shape_.experts ? 0 : kSlice, x, out, shape_.experts ? &routing_.get() : nullptr};
  }

  GradientSum inputs_gradient(Backend& backend) {
    GradientSum dx(n_rows(), shape_.n_in, 6);
    const Product back = product(dx.matrix(), dz_.matrix());
    backend.mul_mats_transposed({&back, 1});
    return dx;
  }

  // [n_slices * n_out * blocks, n_scales], added to ones.
  std::vector<float> scales_gradient(Backend& backend) {
    const formats::Format& format = *weight().format;
    std::vector<float> sums(
        static_cast<size_t>(kSlices * shape_.n_out * shape_.n_in / format.block_len * format.n_scales), 1.0f);
    const ScaleGradient gradient{product(x(), dz_.matrix()), sums.data()};
    backend.scale_gradients({&gradient, 1});
    return sums;
  }

  double loss(Backend& backend) {
    const Product forward = product(x(), out_.matrix());
    backend.mul_mats({&forward, 1});
    return weighted_sum(out_.matrix(), dz_.matrix());
  }

 private:
  const Shape shape_;
  const RandomWeight weight_;
  RoutingMemory routing_;
  Activations x_, dz_, out_;
};

// Number k of each block.
Numbers every(const std::vector<float>& sums, int n_scales, int k) {
  Numbers out;
  for (size_t i = static_cast<size_t>(k); i < sums.size(); i += static_cast<size_t>(n_scales)) out.push_back(sums[i]);
  return out;
}

class MulMatBackward : public testing::TestWithParam<formats::Type> {
 protected:
  const formats::Format& format_ = formats::format(GetParam());
  // Multiples of the longest block, or what no vector divides.
  std::vector<int64_t> widths() const {
    return format_.block_len == 1 ? std::vector<int64_t>{1, 33, 300}
                                  : std::vector<int64_t>{format_.block_len, 3 * format_.block_len};
  }
  const std::unique_ptr<Backend> cpu_ = make_backend("cpu"), ref_ = make_backend("ref");
};

std::vector<formats::Type> weight_types() {
  std::vector<formats::Type> types;
  for (const formats::Format* format : formats::all_formats()) {
    if (format->decode != nullptr && format->encoder != nullptr) types.push_back(format->type);
  }
  return types;
}

INSTANTIATE_TEST_SUITE_P(Types, MulMatBackward, testing::ValuesIn(weight_types()),
                         [](const auto& instance) { return std::string(format(instance.param).name); });

TEST_P(MulMatBackward, IsTheGradientOfTheInput) {
  for (const bool experts : {false, true}) {
    Case one(GetParam(), {widths().back(), 5, 4, experts});
    const Numbers gradient = one.inputs_gradient(*ref_).added();
    expect_gradients({{one.x(), gradient}}, [&] { return one.loss(*ref_); });
  }
}

// Results are linear in stored scales, so the difference may be large: what a half rounds of it is known.
TEST_P(MulMatBackward, IsTheGradientOfTheScales) {
  if (format_.n_scales == 0) return;
  for (const bool experts : {false, true}) {
    Case one(GetParam(), {format_.block_len == 1 ? 6 : 2 * format_.block_len, 2, 3, experts});
    const Weight& weight = one.weight();
    const std::vector<float> sums = one.scales_gradient(*ref_);
    auto* const blocks = const_cast<std::byte*>(weight.data);
    const int64_t n_blocks = kSlices * weight.n_out * weight.n_in / format_.block_len;
    ASSERT_EQ(std::ssize(sums), n_blocks * format_.n_scales);
    const double before = one.loss(*ref_);
    for (int k = 0; k < format_.n_scales; ++k) {
      Numbers expected;
      for (int64_t b = 0; b < n_blocks; ++b) {
        std::byte* const block = blocks + b * format_.block_bytes;
        std::array<float, formats::kMaxStoredScales> scales{}, stored{};
        format_.read_scales(block, scales.data());
        const std::array<float, formats::kMaxStoredScales> own = scales;
        scales[static_cast<size_t>(k)] = own[static_cast<size_t>(k)] * -1.3f + 0.1f;
        format_.write_scales(scales.data(), block);
        format_.read_scales(block, stored.data());
        const double moved = double{stored[static_cast<size_t>(k)]} - own[static_cast<size_t>(k)];
        expected.push_back(1.0 + (one.loss(*ref_) - before) / moved);
        format_.write_scales(own.data(), block);
      }
      EXPECT_LE(largest_error(every(sums, format_.n_scales, k), expected), 1e-4) << k;
    }
    EXPECT_EQ(one.loss(*ref_), before);
  }
}

TEST_P(MulMatBackward, CpuAgrees) {
  std::vector<Shape> shapes;
  for (const int64_t n_in : widths()) {
    for (const auto& [n_out, n_tokens] : {std::pair{1, 1}, {7, 9}, {61, 2}, {66, 65}, {300, 8}})
      shapes.insert(shapes.end(), {{n_in, n_out, n_tokens, false}, {n_in, n_out, n_tokens, true}});
  }
  shapes.push_back({widths().front(), 5, 500});
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(testing::Message() << shape.n_in << " " << shape.n_out << " " << shape.n_tokens << shape.experts);
    Case one(GetParam(), shape);
    GradientSum expected = one.inputs_gradient(*ref_), found = one.inputs_gradient(*cpu_);
    EXPECT_LE(largest_error(found.added(), expected.added()), 1e-5);
    const std::vector<float> expected_sums = one.scales_gradient(*ref_), sums = one.scales_gradient(*cpu_);
    for (int k = 0; k < format_.n_scales; ++k) {
      EXPECT_LE(largest_error(every(sums, format_.n_scales, k), every(expected_sums, format_.n_scales, k)), 1e-5) << k;
    }
  }
}

TEST_P(MulMatBackward, BitsDoNotDependOnThreads) {
  const int before = omp_get_max_threads();
  for (const Shape& shape : {Shape{widths().back(), 130, 9}, Shape{widths().back(), 66, 65, true}}) {
    Case one(GetParam(), shape);
    set_thread_count(1);
    GradientSum expected = one.inputs_gradient(*cpu_);
    const std::vector<float> expected_sums = one.scales_gradient(*cpu_);
    for (const int threads : {2, 5}) {
      set_thread_count(threads);
      EXPECT_TRUE(identical(one.inputs_gradient(*cpu_).matrix(), expected.matrix())) << threads;
      EXPECT_EQ(one.scales_gradient(*cpu_), expected_sums) << threads;
    }
  }
  set_thread_count(before);
}

TEST_P(MulMatBackward, WritesScales) {
  if (format_.n_scales == 0) return;
  for (Backend* backend : {cpu_.get(), ref_.get()}) {
    const RandomWeight random(GetParam(), widths().back(), 7, 3, 1), same(GetParam(), widths().back(), 7, 3, 1);
    const Weight& weight = random.get();
    const int64_t n_blocks = 3 * 7 * widths().back() / format_.block_len;
    Activations scales(1, n_blocks * format_.n_scales, 2);
    backend->write_scales(weight, scales.matrix().data);
    std::vector<std::byte> expected(same.get().data, same.get().data + n_blocks * format_.block_bytes);
    for (int64_t b = 0; b < n_blocks; ++b) {
      format_.write_scales(scales.matrix().data + b * format_.n_scales, expected.data() + b * format_.block_bytes);
    }
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), weight.data));
    EXPECT_FALSE(std::equal(expected.begin(), expected.end(), same.get().data));
  }
}

// A type that can be read only. Its values are those of floats here.
TEST(MulMatsBackward, OfDoubles) {
  const RandomWeight floats(formats::Type::F32, 33, 7, 1, 1);
  const auto* const values = reinterpret_cast<const float*>(floats.get().data);
  const std::vector<double> doubles(values, values + 33 * 7);
  const Weight weight{"test.weight",
                      &formats::format(formats::Type::F64),
                      33,
                      7,
                      1,
                      reinterpret_cast<const std::byte*>(doubles.data())};
  Activations dz(9, 7, 2);
  for (const char* name : {"ref", "cpu"}) {
    const auto backend = make_backend(name);
    Activations found(9, 33, 3), expected(9, 33, 3);
    const Product of_doubles{&weight, 0, found.matrix(), dz.matrix()},
        of_floats{&floats.get(), 0, expected.matrix(), dz.matrix()};
    backend->mul_mats_transposed({&of_doubles, 1});
    backend->mul_mats_transposed({&of_floats, 1});
    EXPECT_TRUE(identical(found.matrix(), expected.matrix())) << name;
    EXPECT_TRUE(found.untouched_outside());
  }
}

// Three products of one input, each with columns of its own in one matrix of results; and heads, which take columns of
// one input through slices of one weight, and share the sums of their scales.
TEST(MulMatsBackward, ProductsOfOneInputAndOfItsColumns) {
  constexpr int64_t kTokens = 6, kWidth = 20, kHead = 5;
  const RandomWeight a(formats::Type::F32, kWidth, 7, 1, 1), b(formats::Type::F16, kWidth, 3, 1, 2),
      c(formats::Type::F32, kWidth, 4, 1, 3), heads(formats::Type::F32, kHead, 3, 4, 4);
  Activations x(kTokens, kWidth, 5), out(kTokens, 26, 6), dout(kTokens, 26, 7);
  const auto products = [&](Matrix in, Matrix results) {
    std::vector<Product> all = {{&a.get(), 0, in, results.columns(0, 7)},
                                {&b.get(), 0, in, results.columns(7, 3)},
                                {&c.get(), 0, in, results.columns(10, 4)}};
    for (int64_t h = 0; h < 4; ++h)
      all.push_back({&heads.get(), h, in.columns(h * kHead, kHead), results.columns(14 + 3 * h, 3)});
    return all;
  };
  for (const bool head_by_head : {false, true}) {  // one input's columns must not overlap another input
    const auto some = [&](Matrix in, Matrix results) {
      std::vector<Product> all = products(in, results);
      all.erase(head_by_head ? all.begin() : all.begin() + 3, head_by_head ? all.begin() + 3 : all.end());
      return all;
    };
    Activations weights = dout;  // of the loss: zeros where nothing is multiplied
    const Matrix none = weights.matrix().columns(head_by_head ? 0 : 14, head_by_head ? 14 : 12);
    make_backend("ref")->scale(none, 0);
    make_backend("ref")->scale(out.matrix(), 0);
    for (const char* name : {"ref", "cpu"}) {
      const auto backend = make_backend(name);
      GradientSum dx(kTokens, kWidth, 8);
      backend->mul_mats_transposed(some(dx.matrix(), dout.matrix()));
      expect_gradients({{x.matrix(), dx.added()}}, [&] {
        backend->mul_mats(some(x.matrix(), out.matrix()));
        return weighted_sum(out.matrix(), weights.matrix());
      });
    }
  }
  for (const char* name : {"ref", "cpu"}) {
    const auto backend = make_backend(name);
    Activations sums(1, 4 * 3 * kHead, 9, 0, 0.0f);
    std::vector<ScaleGradient> gradients;
    for (const Product& product : products(x.matrix(), dout.matrix())) {
      if (product.weight == &heads.get()) gradients.push_back({product, sums.matrix().data});
    }
    backend->scale_gradients(gradients);
    auto* const values = reinterpret_cast<float*>(const_cast<std::byte*>(heads.get().data));
    expect_gradients({{{values, 1, 4 * 3 * kHead, 4 * 3 * kHead}, numbers(sums.matrix())}}, [&] {
      backend->mul_mats(products(x.matrix(), out.matrix()));
      return weighted_sum(out.matrix().columns(14, 12), dout.matrix().columns(14, 12));
    });
  }
}

}  // namespace
}  // namespace steelyard::compute
