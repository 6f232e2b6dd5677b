// Causal attention: the cpu backend against the reference, and a prompt in pieces against the prompt at once.
#include "base/parallel.h"
#include "compute/activations.h"
#include "support.h"

namespace steelyard::compute {
namespace {

// F32 activations as typed rows.
TypedRows f32(Matrix x) {
  return {&format(formats::Type::F32), reinterpret_cast<std::byte*>(x.data), x.rows, x.cols,
          x.stride * static_cast<int64_t>(sizeof(float))};
}

struct Heads {
  int64_t n_head, n_head_kv, head_k, head_v;
};

class Attention : public testing::TestWithParam<Heads> {
 protected:
  // Attention of queries [begin, begin + n) over keys and values of all positions up to them.
  void attend(Backend& backend, Matrix q, Matrix k, Matrix v, int64_t begin, int64_t n, Matrix out) {
    const auto [n_head, n_head_kv, head_k, head_v] = GetParam();
    backend.attention({q.slice(begin, n), f32(k.slice(0, begin + n)), f32(v.slice(0, begin + n)), n_head, n_head_kv,
                       head_k, head_v, 0.3f, begin, window_, sinks_},
                      out.slice(begin, n));
  }
  int64_t window_ = 0;
  const float* sinks_ = nullptr;
  const std::unique_ptr<Backend> cpu_ = make_backend("cpu"), ref_ = make_backend("ref");
};

INSTANTIATE_TEST_SUITE_P(Shapes, Attention,
                         testing::Values(Heads{1, 1, 8, 8}, Heads{4, 2, 16, 16}, Heads{6, 3, 33, 17},
                                         Heads{8, 1, 40, 24}),
                         [](const auto& instance) {
                           return std::to_string(instance.param.n_head) + "over" +
                                  std::to_string(instance.param.n_head_kv);
                         });

TEST_P(Attention, CpuAgrees) {
  const auto [n_head, n_head_kv, head_k, head_v] = GetParam();
  for (const int64_t n : {1, 8, 9, 64, 65, 150}) {
    for (const int64_t past : {0, 1, 70}) {
      Activations q(past + n, n_head * head_k, 1), k(past + n, n_head_kv * head_k, 2),
          v(past + n, n_head_kv * head_v, 3);
      Activations found(past + n, n_head * head_v, 4), expected(past + n, n_head * head_v, 4);
      attend(*cpu_, q.matrix(), k.matrix(), v.matrix(), past, n, found.matrix());
      attend(*ref_, q.matrix(), k.matrix(), v.matrix(), past, n, expected.matrix());
      expect_close(found.matrix(), expected.matrix(), 2e-5f);
      EXPECT_TRUE(found.untouched_outside());
    }
  }
}

TEST_P(Attention, WindowsAndSinks) {
  const auto [n_head, n_head_kv, head_k, head_v] = GetParam();
  const int64_t past = 70;
  Activations sinks(1, n_head, 6, 0, 3.0f);
  for (const int64_t n : {1, 9, 150}) {
    Activations q(past + n, n_head * head_k, 1), k(past + n, n_head_kv * head_k, 2), v(past + n, n_head_kv * head_v, 3);
    for (const float* logits : {static_cast<const float*>(nullptr), static_cast<const float*>(sinks.matrix().data)}) {
      for (const int64_t window : {0, 1, 2, 63, 64, 65, 100, 1000}) {
        window_ = window;
        sinks_ = logits;
        Activations found(past + n, n_head * head_v, 4), expected(past + n, n_head * head_v, 4);
        attend(*cpu_, q.matrix(), k.matrix(), v.matrix(), past, n, found.matrix());
        attend(*ref_, q.matrix(), k.matrix(), v.matrix(), past, n, expected.matrix());
        expect_close(found.matrix(), expected.matrix(), 2e-5f);
        EXPECT_TRUE(found.untouched_outside());
      }
    }
  }
}

TEST_P(Attention, PiecesEqualTheWhole) {
  const auto [n_head, n_head_kv, head_k, head_v] = GetParam();
  const int64_t n = 100;
  Activations q(n, n_head * head_k, 1), k(n, n_head_kv * head_k, 2), v(n, n_head_kv * head_v, 3);
  for (Backend* backend : {cpu_.get(), ref_.get()}) {
    Activations whole(n, n_head * head_v, 4), pieces(n, n_head * head_v, 5);
    attend(*backend, q.matrix(), k.matrix(), v.matrix(), 0, n, whole.matrix());
    for (const auto& [begin, length] : {std::pair{0, 40}, {40, 1}, {41, 1}, {42, 9}, {51, 49}}) {
      attend(*backend, q.matrix(), k.matrix(), v.matrix(), begin, length, pieces.matrix());
    }
    expect_close(pieces.matrix(), whole.matrix(), 1e-5f);
  }
}

// Sequences of a call are computed as if each had one of its own, to the bit: whatever their lengths and positions, and
// however many threads share them. Their keys may be parts of one cache.
TEST_P(Attention, SequencesOfOneCall) {
  const auto [n_head, n_head_kv, head_k, head_v] = GetParam();
  struct Sequence {
    int64_t past, n;
  };
  const Sequence sequences[] = {{0, 1}, {70, 1}, {0, 9}, {3, 64}, {70, 65}, {150, 2}, {63, 1}, {0, 150}};
  int64_t n_rows = 0, n_keys = 0;
  for (const auto& [past, n] : sequences) {
    n_rows += n;
    n_keys += past + n;
  }
  Activations q(n_rows, n_head * head_k, 1), k(n_keys, n_head_kv * head_k, 2), v(n_keys, n_head_kv * head_v, 3),
      sinks(1, n_head, 6);
  const int before = omp_get_max_threads();
  for (Backend* backend : {cpu_.get(), ref_.get()}) {
    for (const int64_t window : {0, 40}) {
      const auto attend = [&](Matrix out, bool together) {
        std::vector<compute::Attention> all;
        int64_t row = 0, key = 0;
        for (const auto& [past, n] : sequences) {
          const AttentionArgs args{q.matrix().slice(row, n),
                                   f32(k.matrix().slice(key, past + n)),
                                   f32(v.matrix().slice(key, past + n)),
                                   n_head,
                                   n_head_kv,
                                   head_k,
                                   head_v,
                                   0.3f,
                                   past,
                                   window,
                                   window > 0 ? sinks.matrix().data : nullptr};
          all.push_back({args, out.slice(row, n)});
          row += n;
          key += past + n;
        }
        if (together) return backend->attentions(all);
        for (const compute::Attention& one : all) backend->attention(one.args, one.out);
      };
      Activations alone(n_rows, n_head * head_v, 4);
      set_thread_count(1);
      attend(alone.matrix(), false);
      for (const int threads : {1, 2, 3}) {
        set_thread_count(threads);
        Activations found(n_rows, n_head * head_v, 5);
        attend(found.matrix(), true);
        EXPECT_TRUE(identical(found.matrix(), alone.matrix())) << backend->name() << ", window " << window;
        EXPECT_TRUE(found.untouched_outside());
      }
    }
    backend->attentions({});  // of none
  }
  set_thread_count(before);
}

// Keys and values in types of blocks: both backends decode the same rows, and rows are stored near to what was given.
TEST(TypedCache, BackendsAgree) {
  const int64_t n = 150, past = 33, n_head = 4, n_head_kv = 2, head_k = 64, head_v = 32;
  Activations q(n, n_head * head_k, 1), k(past + n, n_head_kv * head_k, 2), v(past + n, n_head_kv * head_v, 3);
  for (const formats::Type keys :
       {formats::Type::F32, formats::Type::F16, formats::Type::BF16, formats::Type::Q8_0, formats::Type::Q4_0}) {
    for (const formats::Type values :
         {formats::Type::F32, formats::Type::F16, formats::Type::BF16, formats::Type::Q8_0, formats::Type::Q4_0}) {
      const auto store = [&](Backend& backend, Matrix x, formats::Type type, std::vector<std::byte>& bytes) {
        const formats::Format& to = format(type);
        const int64_t stride = x.cols / to.block_len * to.block_bytes + 12;
        bytes.assign(static_cast<size_t>(x.rows * stride), std::byte{1});
        const TypedRows rows{&to, bytes.data(), x.rows, x.cols, stride};
        backend.store(x, rows);
        return rows;
      };
      for (const int64_t n_queries : {int64_t{1}, int64_t{7}, n}) {
        std::vector<std::byte> key_bytes, value_bytes;
        const auto cpu = make_backend("cpu"), ref = make_backend("ref");
        const TypedRows key_rows = store(*cpu, k.matrix(), keys, key_bytes);
        const TypedRows value_rows = store(*cpu, v.matrix(), values, value_bytes);
        AttentionArgs args{
            q.matrix().slice(0, n_queries), key_rows, value_rows, n_head, n_head_kv, head_k, head_v, 0.125f, past};
        args.k.rows = args.v.rows = past + n_queries;
        Activations found(n_queries, n_head * head_v, 4), expected(n_queries, n_head * head_v, 5);
        cpu->attention(args, found.matrix());
        ref->attention(args, expected.matrix());
        expect_close(found.matrix(), expected.matrix(), 2e-5f);
        args.k = f32(k.matrix().slice(0, past + n_queries));
        args.v = f32(v.matrix().slice(0, past + n_queries));
        ref->attention(args, expected.matrix());
        const bool coarse = keys == formats::Type::Q4_0 || values == formats::Type::Q4_0;
        expect_close(found.matrix(), expected.matrix(), coarse ? 0.3f : 0.03f);
      }
    }
  }
}

// Latent attention: values are the first columns of the keys, in one memory.
TEST(AttentionViews, ValuesInsideKeys) {
  const int64_t n = 20, n_head = 3, head_k = 24, head_v = 16;
  Activations q(n, n_head * head_k, 1), k(n, head_k, 2), found(n, n_head * head_v, 3), expected(n, n_head * head_v, 3);
  const AttentionArgs args{
      q.matrix(), f32(k.matrix()), f32(k.matrix()).first_columns(head_v), n_head, 1, head_k, head_v, 0.2f, 0};
  make_backend("cpu")->attention(args, found.matrix());
  make_backend("ref")->attention(args, expected.matrix());
  expect_close(found.matrix(), expected.matrix(), 2e-5f);
}

// What lies behind a query's own position must not leak into it.
TEST(AttentionViews, TheFutureIsInvisible) {
  const int64_t n = 70, width = 8;
  for (const char* name : {"cpu", "ref"}) {
    Activations q(n, width, 1), k(n, width, 2), v(n, width, 3), before(n, width, 4), after(n, width, 4);
    const AttentionArgs args{q.matrix(), f32(k.matrix()), f32(v.matrix()), 1, 1, width, width, 1.0f, 0};
    make_backend(name)->attention(args, before.matrix());
    for (int64_t c = 0; c < width; ++c) {
      k.matrix().row(n - 1)[c] = 1e6f;
      v.matrix().row(n - 1)[c] = 1e6f;
    }
    make_backend(name)->attention(args, after.matrix());
    EXPECT_TRUE(identical(before.matrix().slice(0, n - 1), after.matrix().slice(0, n - 1))) << name;
    EXPECT_FALSE(identical(before.matrix(), after.matrix())) << name;
  }
}

// A window of one sees the query's own value; a sink of equal logit halves it, an overwhelming one leaves nothing.
TEST(AttentionViews, WindowOfOneAndSinks) {
  const int64_t n = 70, width = 8;
  for (const char* name : {"cpu", "ref"}) {
    Activations q(n, width, 1, 0, 0.0f), k(n, width, 2), v(n, width, 3), out(n, width, 4);
    AttentionArgs args{q.matrix(), f32(k.matrix()), f32(v.matrix()), 1, 1, width, width, 1.0f, 0, /*window=*/1};
    make_backend(name)->attention(args, out.matrix());
    for (int64_t t = 0; t < n; ++t) ASSERT_FLOAT_EQ(out.matrix().row(t)[3], v.matrix().row(t)[3]) << name;
    for (const auto& [sink, share] : {std::pair{0.0f, 0.5f}, {-1e30f, 1.0f}, {1e30f, 0.0f}}) {
      args.sinks = &sink;
      make_backend(name)->attention(args, out.matrix());
      for (int64_t t = 0; t < n; ++t) ASSERT_FLOAT_EQ(out.matrix().row(t)[3], share * v.matrix().row(t)[3]) << name;
    }
  }
}

// Scores far beyond the range of exp: the largest takes all.
TEST(AttentionViews, LargeScores) {
  const int64_t n = 40, width = 16;
  Activations q(n, width, 1, 5, 1e3f), k(n, width, 2, 5, 1e3f), v(n, width, 3), found(n, width, 4),
      expected(n, width, 4);
  const AttentionArgs args{q.matrix(), f32(k.matrix()), f32(v.matrix()), 1, 1, width, width, 1.0f, 0};
  make_backend("cpu")->attention(args, found.matrix());
  make_backend("ref")->attention(args, expected.matrix());
  expect_close(found.matrix(), expected.matrix(), 1e-5f);
}

}  // namespace
}  // namespace steelyard::compute
