// Matrix products. A call becomes a list of tasks, some weight rows with some tokens each, that threads take one by
// one: all experts, heads or projections of a call in one parallel region.
//
// For a single token a weight row is multiplied straight from its blocks. For more, a tile of rows is unpacked into
// panels once and serves them all; what a token gets does not depend on the others. Tokens that are computed alone
// (Backend::compute_rows_alone) share the row while it is unpacked, and get the sums of a single one. Types of groups
// meet a single token as bytes: three planes of them are as good as floats (Precision::kExact), one is what others have
// (kFast). In panels kExact multiplies floats. kFast multiplies the codes of blocks with bytes, and what has no groups
// as 16-bit codes on both sides. Weights in F32 stay what they are: routers and the like, small and sensitive.
#include <algorithm>

#include "base/parallel.h"
#include "compute/cpu/cpu_backend.h"

namespace steelyard::compute {
namespace {

// Of one task: enough to be worth taking, few enough to balance threads. Single rows of a small layer are shared out
// finer: a thread without a task would wait for one with two.
constexpr int64_t kLeastRowBytesOfTask = 4 << 10, kMostRowBytesOfTask = 64 << 10;
constexpr int64_t kTasksOfThread = 3;
constexpr int64_t kPanelsOfTask = 2;
constexpr int64_t kTokensOfTask = 512;
// Values of a row that are decoded at a time, a multiple of every block length: panels of so many stay in the second
// level cache, as many values of a few tokens in the first.
constexpr int64_t kDepth = 768;

// Rows are cut into even pieces of at most kDepth, in multiples of the longest block.
int64_t depth_of(int64_t n_in) {
  const int64_t pieces = (n_in + kDepth - 1) / kDepth;
  return ((n_in + pieces - 1) / pieces + formats::kMaxBlockLen - 1) / formats::kMaxBlockLen * formats::kMaxBlockLen;
}

const std::byte* blocks_at(const Product& product, int64_t row, int64_t value) {
  const formats::Format& format = *product.weight->format;
  return product.weight->row(product.slice, row) + value / format.block_len * format.block_bytes;
}

}  // namespace

CpuBackend::Job CpuBackend::make_job(const Product& product) {
  const Weight& weight = *product.weight;
  STEELYARD_CHECK(product.x.cols == weight.n_in && product.out.cols == weight.n_out);
  STEELYARD_CHECK(product.x.rows == product.out.rows);
  Job job{.product = product, .rows = &cpu::row_kernels(target_, *weight.format), .kind = kind_of(product)};
  if (!job.of_codes()) return job;
  // Neighbours in a call often share their input: the projections of a layer.
  if (!jobs_.empty() && jobs_.back().kind == job.kind && jobs_.back().product.x == product.x) {
    job.codes_at = jobs_.back().codes_at;
  } else {
    int64_t& n = count_of(job.kind);
    job.codes_at = n;
    n += product.x.rows * job.coded_width();
  }
  return job;
}

CpuBackend::Kind CpuBackend::kind_of(const Product& product) const {
  const formats::Format& format = *product.weight->format;
  const bool groups = format.unpack != nullptr, fast = precision_ == Precision::kFast;
  // An expert's only token is one of several all the same: with others beside it, another one may come.
  const int64_t n_tokens = product.routing != nullptr ? product.routing->n_tokens : product.x.rows;
  if (n_tokens == 1 || rows_alone_) return groups ? Kind::kByteRow : Kind::kRow;
  if (fast && groups) return Kind::kBytePanels;
  return fast && format.type != formats::Type::F32 ? Kind::kCodedPanels : Kind::kPanels;
}

int64_t& CpuBackend::count_of(Kind kind) {
  return kind == Kind::kByteRow ? n_row_bytes_ : kind == Kind::kBytePanels ? n_panel_bytes_ : n_codes_;
}

void CpuBackend::add_tasks(int32_t index, int64_t row_bytes_of_task) {
  const Job& job = jobs_[static_cast<size_t>(index)];
  const int64_t n_out = job.product.out.cols, n_tokens = job.product.x.rows;
  const bool single = job.kind == Kind::kRow || job.kind == Kind::kByteRow;
  const int64_t panel = job.kind == Kind::kBytePanels ? byte_panels_.panel : gemm_.panel;
  const int64_t rows =
      single ? std::max<int64_t>(1, row_bytes_of_task / job.product.weight->row_bytes()) : kPanelsOfTask * panel;
  for (int64_t token = 0; token < n_tokens; token += kTokensOfTask) {
    for (int64_t row = 0; row < n_out; row += rows) {
      tasks_.push_back({index, row, std::min(rows, n_out - row), token, std::min(kTokensOfTask, n_tokens - token)});
    }
  }
}

void CpuBackend::encode_inputs(const Job& job) {
  const Matrix x = job.product.x;
  const auto encode = [&](int64_t token) {
    if (job.of_bytes()) return byte_panels_.quantize(x.row(token), x.cols, bytes_of(job).at(token, 0));
    const int64_t at = job.codes_at + token * job.coded_width();
    gemm_.quantize(x.row(token), x.cols, cpu::kInputCodes, codes_.data() + at, scales_.data() + at / cpu::kCodeBlock,
                   1);
  };
  if (x.rows == 1) return encode(0);
  parallel_for(x.rows, 8, encode);
}

cpu::ByteInput CpuBackend::bytes_of(const Job& job) {
  return (job.kind == Kind::kByteRow ? row_bytes_ : panel_bytes_).at(job.codes_at, job.coded_width());
}

void CpuBackend::multiply(std::span<const Product> products) {
  jobs_.clear();
  tasks_.clear();
  n_codes_ = n_row_bytes_ = n_panel_bytes_ = 0;
  int64_t n_products = 0, row_bytes = 0;
  for (const Product& product : products) {
    jobs_.push_back(make_job(product));
    n_products += product.x.rows * product.x.cols * product.out.cols;
    row_bytes += product.out.cols * product.weight->row_bytes();
  }
  const int64_t row_bytes_of_task =
      std::clamp(row_bytes / (kTasksOfThread * omp_get_max_threads()), kLeastRowBytesOfTask, kMostRowBytesOfTask);
  for (size_t j = 0; j < jobs_.size(); ++j) add_tasks(static_cast<int32_t>(j), row_bytes_of_task);
  codes_.reserve(static_cast<size_t>(n_codes_));
  scales_.reserve(static_cast<size_t>(n_codes_ / cpu::kCodeBlock));
  row_bytes_.reserve(n_row_bytes_, precision_ == Precision::kFast ? 1 : 3);
  panel_bytes_.reserve(n_panel_bytes_, 1);
  for (size_t j = 0; j < jobs_.size(); ++j) {
    const Job& job = jobs_[j];
    if (!job.of_codes() || (j > 0 && jobs_[j - 1].kind == job.kind && jobs_[j - 1].codes_at == job.codes_at)) continue;
    encode_inputs(job);
  }
  std::vector<Workspace>& all_workspaces = workspaces();
  if (n_products < cpu::kSerialProducts) {  // an `if` clause would still make a team, of one
    for (const Task& task : tasks_) run(task, all_workspaces[0]);
    return;
  }
#pragma omp parallel
  {
    Workspace& workspace = all_workspaces[static_cast<size_t>(omp_get_thread_num())];
#pragma omp for schedule(dynamic)
    for (size_t t = 0; t < tasks_.size(); ++t) run(tasks_[t], workspace);
  }
}

void CpuBackend::run(const Task& task, Workspace& workspace) {
  const Job& job = jobs_[static_cast<size_t>(task.job)];
  switch (job.kind) {
    case Kind::kRow:
    case Kind::kByteRow:
      return multiply_rows(job, task);
    case Kind::kPanels:
      return multiply_panels(job, task, workspace);
    case Kind::kCodedPanels:
      return multiply_coded_panels(job, task, workspace);
    case Kind::kBytePanels:
      return multiply_byte_panels(job, task, workspace);
  }
}

void CpuBackend::multiply_rows(const Job& job, const Task& task) {
  const Matrix x = job.product.x.slice(task.token, task.n_tokens),
               out = job.product.out.slice(task.token, task.n_tokens);
  const Weight& weight = *job.product.weight;
  const int64_t n_blocks = x.cols / weight.format->block_len;
  const std::byte* rows = weight.row(job.product.slice, task.row);
  if (job.kind == Kind::kByteRow) {
    const auto dot = precision_ == Precision::kFast ? job.rows->dot_one_plane : job.rows->dot_three_planes;
    const cpu::ByteInput inputs = bytes_of(job).at(task.token, 0);
    dot(rows, weight.row_bytes(), task.n_rows, n_blocks, inputs, x.rows, out.row(0) + task.row, out.stride);
    return;
  }
  for (int64_t r = 0; r < task.n_rows; ++r) {
    for (int64_t t = 0; t < x.rows; ++t) {
      out.row(t)[task.row + r] = job.rows->dot(rows + r * weight.row_bytes(), n_blocks, x.row(t));
    }
  }
}

void CpuBackend::multiply_panels(const Job& job, const Task& task, Workspace& workspace) const {
  const Matrix x = job.product.x.slice(task.token, task.n_tokens),
               out = job.product.out.slice(task.token, task.n_tokens);
  const int64_t depth = depth_of(x.cols), panel = gemm_.panel, block_len = job.product.weight->format->block_len;
  float* rows = workspace.array<float>(0, panel * depth);
  float* panels = workspace.array<float>(1, kPanelsOfTask * panel * depth);
  for (int64_t begin = 0; begin < x.cols; begin += depth) {
    const int64_t k = std::min(depth, x.cols - begin);
    for (int64_t o = 0; o < task.n_rows; o += panel) {
      const int64_t n = std::min(panel, task.n_rows - o);
      for (int64_t r = 0; r < n; ++r) {
        job.product.weight->format->decode(blocks_at(job.product, task.row + o + r, begin), k / block_len,
                                           rows + r * k);
      }
      gemm_.pack(rows, k, n, k, panels + o * k);
    }
    for (int64_t t = 0; t < x.rows; t += cpu::kRowsAtOnce) {
      for (int64_t o = 0; o < task.n_rows; o += panel) {
        gemm_.multiply(std::min(cpu::kRowsAtOnce, x.rows - t), std::min(panel, task.n_rows - o), k, x.row(t) + begin,
                       x.stride, panels + o * k, panel, out.row(t) + task.row + o, out.stride, begin > 0);
      }
    }
  }
}

void CpuBackend::multiply_byte_panels(const Job& job, const Task& task, Workspace& workspace) {
  const Matrix out = job.product.out.slice(task.token, task.n_tokens);
  const Weight& weight = *job.product.weight;
  const cpu::PanelKind kind = job.rows->panel_kind;
  const int64_t n_in = job.product.x.cols, depth = depth_of(n_in), panel = byte_panels_.panel;
  const int64_t panel_bytes = panel * cpu::BytePanel::row_bytes(depth);
  std::byte* rows = workspace.array<std::byte>(0, panel_bytes);
  std::byte* panels = workspace.array<std::byte>(1, kPanelsOfTask * panel_bytes);
  const cpu::ByteInput inputs = bytes_of(job).at(task.token, 0);
  for (int64_t begin = 0; begin < n_in; begin += depth) {
    const int64_t k = std::min(depth, n_in - begin);
    const auto rounded_up = [&](int64_t unit) { return (k + unit - 1) / unit * unit; };
    const auto panel_of = [&](int64_t row) {
      return cpu::BytePanel::in(panels + row / panel * panel_bytes, panel, rounded_up(cpu::kByteUnit), kind);
    };
    const auto unpacked = cpu::BytePanel::in(rows, panel, rounded_up(cpu::kByteSpan), kind);
    for (int64_t o = 0; o < task.n_rows; o += panel) {
      const int64_t n = std::min(panel, task.n_rows - o);
      job.rows->unpack(blocks_at(job.product, task.row + o, begin), weight.row_bytes(), n, k / weight.format->block_len,
                       unpacked);
      byte_panels_.pack(unpacked, n, panel_of(o));
    }
    for (int64_t t = 0; t < task.n_tokens; t += cpu::kRowsAtOnce) {
      for (int64_t o = 0; o < task.n_rows; o += panel) {
        byte_panels_.multiply(kind, std::min(cpu::kRowsAtOnce, task.n_tokens - t), std::min(panel, task.n_rows - o),
                              inputs.at(t, begin), panel_of(o), out.row(t) + task.row + o, out.stride, begin > 0);
      }
    }
  }
}

void CpuBackend::multiply_coded_panels(const Job& job, const Task& task, Workspace& workspace) const {
  const Matrix out = job.product.out.slice(task.token, task.n_tokens);
  const int64_t n_in = job.product.x.cols, width = job.coded_width(), block_len = job.product.weight->format->block_len;
  const int64_t depth = depth_of(n_in), panel = gemm_.panel;
  const int16_t* inputs = codes_.data() + job.codes_at + task.token * width;
  const float* input_scales = scales_.data() + (job.codes_at + task.token * width) / cpu::kCodeBlock;
  float* row = workspace.array<float>(0, depth);
  int16_t* rows = workspace.array<int16_t>(1, panel * depth);
  int16_t* panels = workspace.array<int16_t>(2, kPanelsOfTask * panel * depth);
  float* scales = workspace.array<float>(3, kPanelsOfTask * panel * depth / cpu::kCodeBlock);
  for (int64_t begin = 0; begin < n_in; begin += depth) {
    const int64_t k = std::min(depth, n_in - begin), coded_k = std::min(depth, width - begin);
    const int64_t n_blocks = coded_k / cpu::kCodeBlock;
    for (int64_t o = 0; o < task.n_rows; o += panel) {
      const int64_t n = std::min(panel, task.n_rows - o);
      for (int64_t r = 0; r < n; ++r) {
        job.product.weight->format->decode(blocks_at(job.product, task.row + o + r, begin), k / block_len, row);
        gemm_.quantize(row, k, cpu::kWeightCodes, rows + r * coded_k, scales + o * n_blocks + r, panel);
      }
      gemm_.pack_codes(rows, coded_k, n, coded_k / 2, panels + o * coded_k);
    }
    for (int64_t t = 0; t < task.n_tokens; t += cpu::kRowsAtOnce) {
      for (int64_t o = 0; o < task.n_rows; o += panel) {
        gemm_.multiply_codes(std::min(cpu::kRowsAtOnce, task.n_tokens - t), std::min(panel, task.n_rows - o), n_blocks,
                             inputs + t * width + begin, width, input_scales + (t * width + begin) / cpu::kCodeBlock,
                             width / cpu::kCodeBlock, panels + o * coded_k, scales + o * n_blocks,
                             out.row(t) + task.row + o, out.stride, begin > 0);
      }
    }
  }
}

}  // namespace steelyard::compute
