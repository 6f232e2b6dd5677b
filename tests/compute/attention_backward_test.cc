// Attention's backward pass: the reference against differences of its attention, the cpu backend against the reference.
#include "base/parallel.h"
#include "compute/differences.h"
#include "support.h"

namespace steelyard::compute {
namespace {

// F32 activations as typed rows.
TypedRows f32(Matrix x) {
  return {&format(formats::Type::F32), reinterpret_cast<std::byte*>(x.data), x.rows, x.cols,
          x.stride * static_cast<int64_t>(sizeof(float))};
}

struct Shape {
  int64_t n_head, n_head_kv, head_k, head_v;
  int64_t window = 0;
  bool sinks = false;
  bool latent = false;  // values are the first columns of keys
  float softcap = 0;
};

struct Sequence {
  int64_t past, n;
};

// Sequences of one call with keys and values one after the other, and their gradients. Sequences share the sinks.
class Case {
 public:
  Case(const Shape& shape, std::vector<Sequence> sequences)
      : shape_(shape),
        sequences_(std::move(sequences)),
        n_rows_(total(0)),
        n_keys_(total(1)),
        q_(n_rows_, shape.n_head * shape.head_k, 1),
        k_(n_keys_, shape.n_head_kv * shape.head_k, 2),
        v_(n_keys_, shape.n_head_kv * shape.head_v, 3),
        sinks_(1, shape.n_head, 4, 5, 2.0f),
        out_(n_rows_, shape.n_head * shape.head_v, 5),
        dout_(n_rows_, shape.n_head * shape.head_v, 6) {}

  struct Gradients {
    GradientSum q, k, v, sinks;
  };
  Gradients gradients(Backend& backend) {
    Gradients found{{n_rows_, q_.matrix().cols, 7},
                    {n_keys_, k_.matrix().cols, 8},
                    {n_keys_, v_.matrix().cols, 9},
                    {1, shape_.n_head, 10}};
    attend(backend);
    const Matrix dv = shape_.latent ? found.k.matrix().columns(0, shape_.head_v) : found.v.matrix();
    std::vector<AttentionGradient> back;
    for_each([&](const AttentionArgs& args, int64_t row, int64_t key, int64_t n_keys) {
      const auto rows = [&](Matrix all) { return all.slice(row, args.q.rows); };
      back.push_back({args, rows(out_.matrix()), rows(dout_.matrix()), rows(found.q.matrix()),
                      found.k.matrix().slice(key, n_keys), dv.slice(key, n_keys),
                      shape_.sinks ? found.sinks.data() : nullptr});
    });
    backend.attentions_backward(back);
    return found;
  }

  double loss(Backend& backend) {
    attend(backend);
    return weighted_sum(out_.matrix(), dout_.matrix());
  }

  std::vector<Input> inputs(Gradients& found) {
    std::vector<Input> all = {{q_.matrix(), found.q.added()}, {k_.matrix(), found.k.added()}};
    if (!shape_.latent) all.push_back({v_.matrix(), found.v.added()});
    if (shape_.sinks) all.push_back({sinks_.matrix(), found.sinks.added()});
    return all;
  }

 private:
  int64_t total(int64_t with_past) const {
    int64_t sum = 0;
    for (const auto& [past, n] : sequences_) sum += n + with_past * past;
    return sum;
  }

  template <typename Body>
  void for_each(const Body& body) {
    int64_t row = 0, key = 0;
    const Matrix v = shape_.latent ? k_.matrix().columns(0, shape_.head_v) : v_.matrix();
    for (const auto& [past, n] : sequences_) {
      const AttentionArgs args{q_.matrix().slice(row, n),
                               f32(k_.matrix().slice(key, past + n)),
                               f32(v.slice(key, past + n)),
                               shape_.n_head,
                               shape_.n_head_kv,
                               shape_.head_k,
                               shape_.head_v,
                               0.3f,
                               past,
                               shape_.window,
                               shape_.sinks ? sinks_.matrix().data : nullptr,
                               shape_.softcap};
      body(args, row, key, past + n);
      row += n;
      key += past + n;
    }
  }

  void attend(Backend& backend) {
    std::vector<Attention> all;
    for_each([&](const AttentionArgs& args, int64_t row, int64_t, int64_t) {
      all.push_back({args, out_.matrix().slice(row, args.q.rows)});
    });
    backend.attentions(all);
  }

  const Shape shape_;
  const std::vector<Sequence> sequences_;
  const int64_t n_rows_, n_keys_;
  Activations q_, k_, v_, sinks_, out_, dout_;
};

class AttentionBackward : public testing::TestWithParam<Shape> {
 protected:
  const std::unique_ptr<Backend> cpu_ = make_backend("cpu"), ref_ = make_backend("ref");
};

std::string name_of(const testing::TestParamInfo<Shape>& info) {
  const Shape& shape = info.param;
  return std::to_string(shape.n_head) + "over" + std::to_string(shape.n_head_kv) +
         (shape.window > 0 ? "window" + std::to_string(shape.window) : "") + (shape.sinks ? "sinks" : "") +
         (shape.latent ? "latent" : "") + (shape.softcap > 0 ? "capped" : "");
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionBackward,
                         testing::Values(Shape{1, 1, 8, 8}, Shape{4, 2, 5, 7}, Shape{6, 3, 33, 17},
                                         Shape{4, 2, 16, 16, 3}, Shape{4, 2, 8, 8, 0, true},
                                         Shape{4, 4, 8, 12, 70, true}, Shape{3, 1, 20, 12, 0, false, true},
                                         Shape{3, 1, 20, 12, 1, true, true}, Shape{4, 2, 8, 12, 0, false, false, 1.0f},
                                         Shape{4, 2, 8, 12, 5, true, false, 1.0f}),
                         name_of);

TEST_P(AttentionBackward, IsTheGradient) {
  for (const std::vector<Sequence>& sequences :
       {std::vector<Sequence>{{0, 6}}, std::vector<Sequence>{{4, 3}}, std::vector<Sequence>{{0, 4}, {3, 1}, {2, 5}}}) {
    Case one(GetParam(), sequences);
    Case::Gradients found = one.gradients(*ref_);
    for (const Input& input : one.inputs(found)) {
      // With a window of one position and no sink, nothing depends on the scores.
      if (std::ranges::all_of(input.gradient, [](double d) { return d == 0; })) continue;
      expect_gradients({input}, [&] { return one.loss(*ref_); });
    }
  }
}

TEST_P(AttentionBackward, CpuAgrees) {
  for (const std::vector<Sequence>& sequences :
       {std::vector<Sequence>{{0, 1}}, std::vector<Sequence>{{70, 60}}, std::vector<Sequence>{{0, 61}},
        std::vector<Sequence>{{33, 150}}, std::vector<Sequence>{{0, 9}, {70, 1}, {3, 64}}}) {
    Case one(GetParam(), sequences);
    Case::Gradients expected = one.gradients(*ref_), found = one.gradients(*cpu_);
    const std::vector<Input> expected_inputs = one.inputs(expected), found_inputs = one.inputs(found);
    for (size_t i = 0; i < found_inputs.size(); ++i) {
      const Numbers &gradient = found_inputs[i].gradient, &right = expected_inputs[i].gradient;
      // Of a single key, only the value has a gradient; what is left of the others are rounding errors.
      const bool none = std::ranges::all_of(right, [](double d) { return std::abs(d) < 1e-6; });
      if (none)
        EXPECT_TRUE(std::ranges::all_of(gradient, [](double d) { return std::abs(d) < 1e-5; }));
      else
        EXPECT_LE(largest_error(gradient, right), 1e-5) << "input " << i << " of " << sequences.front().n;
    }
  }
}

TEST_P(AttentionBackward, BitsDoNotDependOnThreads) {
  const int before = omp_get_max_threads();
  Case one(GetParam(), {{0, 65}, {9, 130}, {5, 1}});
  set_thread_count(1);
  Case::Gradients expected = one.gradients(*cpu_);
  for (const int threads : {2, 5}) {
    set_thread_count(threads);
    Case::Gradients found = one.gradients(*cpu_);
    EXPECT_TRUE(identical(found.q.matrix(), expected.q.matrix())) << threads;
    EXPECT_TRUE(identical(found.k.matrix(), expected.k.matrix())) << threads;
    EXPECT_TRUE(identical(found.v.matrix(), expected.v.matrix())) << threads;
    EXPECT_TRUE(identical(found.sinks.matrix(), expected.sinks.matrix())) << threads;
  }
  set_thread_count(before);
}

}  // namespace
}  // namespace steelyard::compute
