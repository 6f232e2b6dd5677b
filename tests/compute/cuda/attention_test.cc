// Attention on the device against the reference: heads of any width, all types of cache, windows, sinks, latents, keys
// shared out over blocks.
#include <algorithm>
#include <random>

#include "base/error.h"
#include "compute/cuda/on_device.h"

namespace steelyard::compute {
namespace {

struct Heads {
  int64_t n_head, n_head_kv, head_k, head_v;
};

class CudaAttention : public CudaTest {
 protected:
  struct Case {
    Heads heads;
    int64_t past, n;
    formats::Type keys = formats::Type::F32, values = formats::Type::F32;
    int64_t window = 0;
    bool sinks = false;
    bool latent = false;  // values are the first columns of the keys
    float softcap = 0;
    double seen = -1;  // the part of the keys that queries are told to see; below 0: they are not
  };

  // Queries [past, past + n) over keys that the backend itself stored; the reference reads the same bytes.
  void compare(Backend& backend, const Case& c) {
    const int64_t n_head = c.heads.n_head, n_head_kv = c.heads.n_head_kv;
    const int64_t head_k = c.heads.head_k, head_v = c.heads.head_v;
    const int64_t total = c.past + c.n;
    Activations q(c.n, n_head * head_k, 1), k(total, n_head_kv * head_k, 2), v(total, n_head_kv * head_v, 3);
    Activations sinks(1, n_head, 6, 0, 3.0f), found(c.n, n_head * head_v, 4), expected(c.n, n_head * head_v, 4);
    DeviceMatrix device_q(backend, q), device_k(backend, k), device_v(backend, v), out(backend, found);
    Activations visible(c.n, total, 5);
    std::mt19937 random(5);
    for (int64_t t = 0; t < c.n; ++t) {
      // The first query sees nothing.
      std::bernoulli_distribution see(t == 0 ? 0.0 : std::max(c.seen, 0.0));
      std::generate_n(visible.matrix().row(t), total, [&] { return see(random) ? 1.0f : 0.0f; });
    }
    DeviceMatrix device_visible(backend, visible);
    const auto device_sinks = row_values(backend, sinks);
    struct Cached {
      DeviceValues<std::byte> bytes;
      int64_t stride;
    };
    const auto cached = [&](formats::Type type, Matrix x) {
      const formats::Format& to = format(type);
      const int64_t stride = x.cols / to.block_len * to.block_bytes + 4;
      DeviceValues<std::byte> bytes(backend, std::vector<std::byte>(static_cast<size_t>(x.rows * stride)));
      backend.store(x, {&to, bytes.data(), x.rows, x.cols, stride});
      return Cached{bytes, stride};
    };
    const Cached cached_keys = cached(c.keys, device_k.matrix());
    const Cached cached_values = cached(c.values, device_v.matrix());
    const auto attend = [&](Backend& on, Matrix queries, std::byte* keys, std::byte* values, const float* logits,
                            Matrix mask, Matrix to) {
      const TypedRows key_rows{&format(c.keys), keys, total, n_head_kv * head_k, cached_keys.stride};
      const TypedRows value_rows{&format(c.values), values, total, n_head_kv * head_v, cached_values.stride};
      on.attention(
          {queries, key_rows, c.latent ? key_rows.first_columns(head_v) : value_rows, n_head, n_head_kv, head_k, head_v,
           0.3f, c.past, c.window, c.sinks ? logits : nullptr, c.softcap, c.seen < 0 ? Matrix{} : mask},
          to);
    };
    attend(backend, device_q.matrix(), cached_keys.bytes.data(), cached_values.bytes.data(), device_sinks.data(),
           device_visible.matrix(), out.matrix());
    out.download();
    std::vector<std::byte> host_keys = cached_keys.bytes.values(), host_values = cached_values.bytes.values();
    attend(*ref_, q.matrix(), host_keys.data(), host_values.data(), sinks.matrix().data, visible.matrix(),
           expected.matrix());
    expect_close(found.matrix(), expected.matrix(), 2e-5f);
    EXPECT_TRUE(found.untouched_outside());
  }
};

TEST_F(CudaAttention, HeadsOfAnyWidth) {
  const auto backend = cuda();
  for (const Heads heads :
       {Heads{1, 1, 8, 8}, Heads{4, 2, 16, 16}, Heads{6, 3, 33, 17}, Heads{8, 1, 72, 100}, Heads{2, 2, 24, 200}}) {
    for (const auto& [past, n] : {std::pair{0, 1}, {0, 33}, {70, 1}, {31, 5}}) {
      SCOPED_TRACE(std::to_string(heads.n_head) + " heads, " + std::to_string(past) + " + " + std::to_string(n));
      compare(*backend, {heads, past, n});
    }
  }
}

TEST_F(CudaAttention, EveryCacheType) {
  const auto backend = cuda();
  constexpr formats::Type kTypes[] = {formats::Type::F32, formats::Type::F16, formats::Type::BF16, formats::Type::Q8_0,
                                      formats::Type::Q4_0};
  for (const formats::Type keys : kTypes) {
    for (const formats::Type values : kTypes) compare(*backend, {{4, 2, 64, 32}, 40, 3, keys, values});
  }
}

TEST_F(CudaAttention, WindowsAndSinks) {
  const auto backend = cuda();
  for (const int64_t window : {0, 1, 31, 64, 1000}) {
    for (const bool sinks : {false, true}) {
      for (const int64_t n : {1, 9}) {
        compare(*backend, {{4, 2, 16, 16}, 70, n, formats::Type::F32, formats::Type::F32, window, sinks});
      }
    }
  }
}

TEST_F(CudaAttention, Latents) {
  const auto backend = cuda();
  for (const formats::Type type : {formats::Type::F16, formats::Type::Q8_0}) {
    compare(*backend, {{5, 1, 576, 512}, 33, 4, type, type, 0, false, true});
    compare(*backend, {{20, 1, 576, 512}, 33, 1, type, type, 0, false, true});
  }
}

TEST_F(CudaAttention, SoftcapAndVisible) {
  const auto backend = cuda();
  constexpr formats::Type kType = formats::Type::F32;
  compare(*backend, {{4, 2, 16, 24}, 70, 9, kType, kType, 20, true, false, 1.0f});
  for (const double seen : {0.0, 0.02, 0.5}) {  // with few, most tiles are passed over
    for (const bool sinks : {false, true}) {
      compare(*backend, {{4, 2, 16, 24}, 70, 19, kType, kType, 3, sinks, false, 0, seen});
      compare(*backend, {{2, 1, 16, 16}, 598, 2, kType, kType, 0, sinks, false, 2.0f, seen});  // shared out
    }
  }
}

// With hundreds of keys and few rows, blocks share the keys out and a second kernel joins them.
TEST_F(CudaAttention, KeysSharedOut) {
  const auto backend = cuda();
  for (const bool sinks : {false, true}) {
    compare(*backend, {{2, 1, 16, 16}, 600, 1, formats::Type::F16, formats::Type::F16, 0, sinks});
    compare(*backend,
            {{2, 1, 16, 16}, 600, 1, formats::Type::F16, formats::Type::F16, 100, sinks});  // some blocks see nothing
    compare(*backend, {{4, 2, 32, 96}, 300, 6, formats::Type::Q8_0, formats::Type::Q4_0, 0, sinks});
  }
}

// Sequences of a call are computed as if each had one of its own, some in one piece and some with their keys shared
// out.
TEST_F(CudaAttention, SequencesOfOneCall) {
  const auto backend = cuda();
  const int64_t n_head = 4, n_head_kv = 2, width = 16;
  struct Sequence {
    int64_t past, n;
  };
  const Sequence sequences[] = {{0, 1}, {300, 1}, {0, 9}, {31, 5}, {300, 2}};
  int64_t n_rows = 0, n_keys = 0;
  for (const auto& [past, n] : sequences) {
    n_rows += n;
    n_keys += past + n;
  }
  Activations q(n_rows, n_head * width, 1), k(n_keys, n_head_kv * width, 2, 0), v(n_keys, n_head_kv * width, 3, 0);
  DeviceMatrix device_q(*backend, q), device_k(*backend, k), device_v(*backend, v);
  const auto attend = [&](bool together) {
    Activations out(n_rows, n_head * width, 4);
    DeviceMatrix device_out(*backend, out);
    const auto rows = [&](const DeviceMatrix& x, int64_t first, int64_t n) {
      const Matrix part = x.matrix().slice(first, n);
      return TypedRows{&format(formats::Type::F32), reinterpret_cast<std::byte*>(part.data), part.rows, part.cols,
                       part.stride * static_cast<int64_t>(sizeof(float))};
    };
    std::vector<compute::Attention> all;
    int64_t row = 0, key = 0;
    for (const auto& [past, n] : sequences) {
      all.push_back({{device_q.matrix().slice(row, n), rows(device_k, key, past + n), rows(device_v, key, past + n),
                      n_head, n_head_kv, width, width, 0.3f, past},
                     device_out.matrix().slice(row, n)});
      row += n;
      key += past + n;
    }
    if (together) backend->attentions(all);
    for (size_t i = 0; !together && i < all.size(); ++i) backend->attention(all[i].args, all[i].out);
    device_out.download();
    EXPECT_TRUE(out.untouched_outside());
    return out;
  };
  Activations together = attend(true), alone = attend(false);
  EXPECT_TRUE(identical(together.matrix(), alone.matrix()));
}

TEST_F(CudaAttention, AllSchedules) {
  cuda_emulator::under_all_schedules([&] {
    const auto backend = cuda();
    compare(*backend, {{4, 2, 20, 70}, 40, 9, formats::Type::F16, formats::Type::BF16, 0, true});
    compare(*backend, {{2, 1, 16, 16}, 300, 1, formats::Type::F16, formats::Type::F16});
  });
}

TEST_F(CudaAttention, RefusesHeadsThatAreTooWide) {
  const auto backend = cuda();
  EXPECT_THROW(compare(*backend, {{1, 1, 16, 600}, 0, 1}), Error);
}

}  // namespace
}  // namespace steelyard::compute
