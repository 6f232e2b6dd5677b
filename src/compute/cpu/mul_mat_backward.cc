// Backward passes of matrix products, always in F32: gradients of their inputs and of the stored scales of their
// weights. A call becomes a list of tasks, as in mul_mat.cc. The order of each sum depends on the shapes alone.
#include <algorithm>
#include <cstring>
#include <map>

#include "base/parallel.h"
#include "compute/cpu/cpu_backend.h"

namespace steelyard::compute {
namespace {

constexpr int64_t kColumns = 256;       // of a task: a multiple of every block length
constexpr int64_t kDepth = 256;         // rows of a weight, or tokens, that are in panels at a time
constexpr int64_t kTokensOfTask = 480;  // whole register tiles of every kernel

// Writes rows [n_rows, n] of `at(r)` into panels one after the other [n / panel, depth, panel], zeros beside them.
template <typename RowAt>
void into_panels(int64_t n_rows, int64_t n, int64_t panel, int64_t depth, const RowAt& at, float* panels) {
  for (int64_t r = 0; r < n_rows; ++r) {
    const float* row = at(r);
    for (int64_t c = 0; c < n; c += panel) {
      float* to = panels + c * depth + r * panel;
      const int64_t width = std::min(panel, n - c);
      std::copy_n(row + c, width, to);
      std::fill(to + width, to + panel, 0.0f);
    }
  }
}

int64_t count_products(const Product& product) { return product.x.rows * product.x.cols * product.out.cols; }

}  // namespace

// A task owns some columns of some rows of one x, and adds all products of that x to them.
void CpuBackend::multiply_transposed(std::span<const Product> products) {
  struct Part {
    size_t input;
    int64_t column, token, n_tokens;
  };
  std::vector<std::vector<const Product*>> inputs;
  std::map<const float*, size_t> input_of;
  int64_t n_products = 0;
  for (const Product& product : products) {
    STEELYARD_CHECK(product.x.cols == product.weight->n_in && product.out.cols == product.weight->n_out);
    const auto [at, added] = input_of.emplace(product.x.data, inputs.size());
    if (added) inputs.emplace_back();
    STEELYARD_CHECK(added || inputs[at->second].front()->x == product.x);
    inputs[at->second].push_back(&product);
    n_products += count_products(product);
  }
  std::vector<Part> parts;
  for (size_t input = 0; input < inputs.size(); ++input) {
    const Matrix x = inputs[input].front()->x;
    for (int64_t column = 0; column < x.cols; column += kColumns) {
      for (int64_t t = 0; t < x.rows; t += kTokensOfTask)
        parts.push_back({input, column, t, std::min(kTokensOfTask, x.rows - t)});
    }
  }
  std::vector<Workspace>& all_workspaces = workspaces();
#pragma omp parallel for schedule(dynamic) if (n_products >= cpu::kSerialProducts)
  for (const Part& part : parts) {
    Workspace& workspace = all_workspaces[static_cast<size_t>(omp_get_thread_num())];
    float* row = workspace.array<float>(0, kColumns);
    float* panels = workspace.array<float>(1, kDepth * kColumns);
    const int64_t panel = gemm_.panel;
    for (const Product* product : inputs[part.input]) {
      const Weight& weight = *product->weight;
      const formats::Format& format = *weight.format;
      const Matrix dz = product->out.slice(part.token, part.n_tokens), dx = product->x.slice(part.token, part.n_tokens);
      const int64_t n = std::min(kColumns, dx.cols - part.column);
      for (int64_t o = 0; o < weight.n_out; o += kDepth) {
        const int64_t depth = std::min(kDepth, weight.n_out - o);
        const auto decoded = [&](int64_t r) {
          const std::byte* blocks =
              weight.row(product->slice, o + r) + part.column / format.block_len * format.block_bytes;
          format.decode(blocks, n / format.block_len, row);
          return row;
        };
        into_panels(depth, n, panel, depth, decoded, panels);
        for (int64_t t = 0; t < dz.rows; t += cpu::kRowsAtOnce) {
          for (int64_t c = 0; c < n; c += panel) {
            gemm_.multiply(std::min(cpu::kRowsAtOnce, dz.rows - t), std::min(panel, n - c), depth, dz.row(t) + o,
                           dz.stride, panels + c * depth, panel, dx.row(t) + part.column + c, dx.stride, true);
          }
        }
      }
    }
  }
}

namespace {

// sums[b][k] += the product of the gradient of values [n_blocks * block_len] with the unit of scale k (Format).
void add_block_gradients(const formats::Format& format, const std::byte* blocks, int64_t n_blocks,
                         const float* gradients, float* sums) {
  std::byte unit[256];
  float values[formats::kMaxBlockLen];
  STEELYARD_CHECK(format.block_bytes <= static_cast<int>(sizeof(unit)));
  for (int64_t b = 0; b < n_blocks; ++b, blocks += format.block_bytes, gradients += format.block_len) {
    for (int k = 0; k < format.n_scales; ++k, ++sums) {
      if (format.block_len == 1) {  // the value itself
        *sums += *gradients;
        continue;
      }
      std::memcpy(unit, blocks, static_cast<size_t>(format.block_bytes));
      float scales[formats::kMaxStoredScales] = {};
      scales[k] = 1;
      format.write_scales(scales, unit);
      format.decode(unit, 1, values);
      double sum = 0;
      for (int i = 0; i < format.block_len; ++i) sum += static_cast<double>(gradients[i] * values[i]);
      *sums += static_cast<float>(sum);
    }
  }
}

}  // namespace

// A task owns the scales of some rows of one slice. Their gradient is the sum over tokens of outer products, block by
// block; those products exist for kRowsAtOnce by kColumns weights at a time.
void CpuBackend::add_scale_gradients(std::span<const ScaleGradient> gradients) {
  struct Part {
    const ScaleGradient* of;
    int64_t row, n_rows;
  };
  std::vector<Part> parts;
  int64_t n_products = 0;
  for (const ScaleGradient& gradient : gradients) {
    n_products += count_products(gradient.product);
    const int64_t n_out = gradient.product.weight->n_out;
    for (int64_t row = 0; row < n_out; row += cpu::kRowsAtOnce)
      parts.push_back({&gradient, row, std::min(cpu::kRowsAtOnce, n_out - row)});
  }
  std::vector<Workspace>& all_workspaces = workspaces();
#pragma omp parallel for schedule(dynamic) if (n_products >= cpu::kSerialProducts)
  for (const Part& part : parts) {
    Workspace& workspace = all_workspaces[static_cast<size_t>(omp_get_thread_num())];
    const Product& product = part.of->product;
    const Weight& weight = *product.weight;
    const formats::Format& format = *weight.format;
    const int64_t panel = gemm_.panel, n_blocks = weight.n_in / format.block_len;
    float* errors = workspace.array<float>(0, cpu::kRowsAtOnce * kDepth);  // [n_rows, tokens]
    float* panels = workspace.array<float>(1, kDepth * kColumns);          // of inputs
    float* outer = workspace.array<float>(2, cpu::kRowsAtOnce * kColumns);
    for (int64_t column = 0; column < weight.n_in; column += kColumns) {
      const int64_t n = std::min(kColumns, weight.n_in - column);
      for (int64_t t = 0; t < product.x.rows; t += kDepth) {
        const int64_t depth = std::min(kDepth, product.x.rows - t);
        for (int64_t i = 0; i < depth; ++i) {
          const float* dz = product.out.row(t + i) + part.row;
          for (int64_t r = 0; r < part.n_rows; ++r) errors[r * depth + i] = dz[r];
        }
        into_panels(
            depth, n, panel, depth, [&](int64_t i) { return product.x.row(t + i) + column; }, panels);
        for (int64_t c = 0; c < n; c += panel) {
          gemm_.multiply(part.n_rows, std::min(panel, n - c), depth, errors, depth, panels + c * depth, panel,
                         outer + c, kColumns, t > 0);
        }
      }
      for (int64_t r = 0; product.x.rows > 0 && r < part.n_rows; ++r) {
        const int64_t row = product.slice * weight.n_out + part.row + r, block = column / format.block_len;
        add_block_gradients(format, weight.row(product.slice, part.row + r) + block * format.block_bytes,
                            n / format.block_len, outer + r * kColumns,
                            part.of->sums + (row * n_blocks + block) * format.n_scales);
      }
    }
  }
}

}  // namespace steelyard::compute
