// Models over several emulated devices, whose memories are apart: as many devices as one likes, and a part on the host,
// give what one device gives; memory is planned for each, and refused with its numbers.
#include <cmath>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/error.h"
#include "calibrate/collect.h"
#include "compute/cuda/on_device.h"
#include "gguf/reader.h"
#include "model/architecture.h"
#include "schedule/placement.h"
#include "schedule/session.h"
#include "support.h"

namespace steelyard::compute {
namespace {

constexpr double kMaxDifference = 5e-4;

// Devices, and a host for the first layers, with a model over them.
struct Machine {
  Machine(const std::string& path, int n_devices, int64_t n_on_devices = INT32_MAX, bool by_turns = false)
      : reader(path) {
    host = make_backend("cpu");
    for (int d = 0; d < n_devices; ++d) devices.push_back(make_cuda_backend(d, Precision::kExact));
    const schedule::MemoryPlan plan = schedule::plan_memory(reader, model::read_config(reader), {64});
    const auto n = static_cast<size_t>(n_devices);
    const schedule::Placement placement =
        place_layers(plan, {std::vector<uint64_t>(n, 0), std::vector<double>(n, 1), n_on_devices});
    std::vector<Backend*> backends(plan.layers.size(), host.get());
    for (size_t d = 0; d < n; ++d) {
      const auto [begin, end] = placement.devices[d];
      std::fill(backends.begin() + begin, backends.begin() + end, devices[d].get());
    }
    for (size_t i = 0; by_turns && i < backends.size(); ++i) backends[i] = devices[i % n].get();
    model.emplace(reader, backends);
  }

  // Of a sequence in pieces, each piece's.
  std::vector<float> logits(const std::vector<int32_t>& ids) const {
    schedule::Session session(*model, static_cast<int64_t>(ids.size()));
    std::vector<float> all;
    for (size_t begin = 0, n = 17; begin < ids.size(); begin += n, n = ids.size() - begin < 20 ? 1 : 20) {
      n = std::min(n, ids.size() - begin);
      const Matrix logits = session.logits(session.forward(std::span(ids).subspan(begin, n)));
      std::vector<float> piece(static_cast<size_t>(logits.rows * logits.cols));
      model->backend().download(piece.data(), logits.data, piece.size() * sizeof(float));
      all.insert(all.end(), piece.begin(), piece.end());
    }
    return all;
  }

  gguf::Reader reader;
  std::unique_ptr<Backend> host;
  std::vector<std::unique_ptr<Backend>> devices;
  std::optional<model::Model> model;
};

class CudaDevices : public CudaTest, public testing::WithParamInterface<const char*> {
 protected:
  static std::string model(const std::string& name) { return test::golden("models/" + name + "/model.gguf"); }
  static std::vector<int32_t> ids(const std::string& name) {
    const auto json = nlohmann::json::parse(test::read_text(test::golden("models/" + name + "/tokens.json")));
    return json["sequences"][0].get<std::vector<int32_t>>();
  }
};

TEST_P(CudaDevices, AnyNumberGivesTheLogitsOfOne) {
  start(6);
  const std::vector<int32_t> ids = this->ids(GetParam());
  const std::vector<float> expected = Machine(model(GetParam()), 1).logits(ids);
  ASSERT_FALSE(expected.empty());
  for (const int n : {2, 3, 6}) EXPECT_EQ(Machine(model(GetParam()), n).logits(ids), expected) << n << " devices";
}

// Host and device differ in their last digits.
TEST_P(CudaDevices, PartOnTheHost) {
  start(2);
  const std::vector<int32_t> ids = this->ids(GetParam());
  const std::vector<float> expected = Machine(model(GetParam()), 0, 0).logits(ids);
  for (const int64_t n : {1, 2}) {
    const std::vector<float> found = Machine(model(GetParam()), 2, n).logits(ids);
    ASSERT_EQ(found.size(), expected.size());
    double max = 0;
    for (size_t i = 0; i < found.size(); ++i) max = std::max(max, std::abs(double{found[i]} - expected[i]));
    EXPECT_LE(max, kMaxDifference) << n << " layers on devices";
  }
}

// One of each kind: tied embedding, latent attention, recurrence, experts with prediction, sinks and windows.
INSTANTIATE_TEST_SUITE_P(Kinds, CudaDevices,
                         testing::Values("llama_tied", "deepseek2", "qwen3next", "glm4moe", "gpt-oss"),
                         [](const auto& each) {
                           std::string name = each.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

// In either order of iteration, and where devices take layers in turn and work on different batches at the same time.
// Includes prediction blocks, whose embedding is on another device.
TEST_F(CudaDevices, ImportanceIsThatOfOne) {
  start(3);
  std::vector<tokenizer::TokenId> ids(6 * 16);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<tokenizer::TokenId>(i * 37 % 250);
  const tokenizer::Chunks chunks(ids, 16, 0, std::nullopt, "ids");
  const auto collect = [&](int n_devices, bool layer_major, bool by_turns) {
    calibrate::CollectOptions options;
    options.with_output = true;
    options.sweep.keep_layers = !layer_major;
    options.sweep.n_batch = 32;
    const Machine machine(model("glm4moe"), n_devices, INT32_MAX, by_turns);
    return collect_imatrix(*machine.model, chunks, options, [](auto...) {}).imatrix;
  };
  const imatrix::Imatrix expected = collect(1, false, false);
  EXPECT_GT(expected.entries.size(), 0u);
  for (const auto& [n_devices, layer_major, by_turns] : {std::tuple(2, false, false), std::tuple(2, true, false),
                                                         std::tuple(2, true, true), std::tuple(3, true, true)}) {
    const imatrix::Imatrix found = collect(n_devices, layer_major, by_turns);
    ASSERT_EQ(found.entries.size(), expected.entries.size());
    for (const auto& [name, entry] : expected.entries) {
      EXPECT_EQ(found.entries.at(name).in_sum2, entry.in_sum2) << name;
      EXPECT_EQ(found.entries.at(name).counts, entry.counts) << name;
    }
  }
}

// The memory that each device has lost is at most what was planned for it.
TEST_F(CudaDevices, TakeWhatWasPlanned) {
  start(3);
  for (const char* name : {"llama", "deepseek2", "qwen3next"}) {
    std::vector<uint64_t> before;
    for (int d = 0; d < 3; ++d) before.push_back(*cuda(Precision::kExact, d)->free_memory());
    const Machine machine(model(name), 3);
    const std::vector<int32_t> tokens = ids(name);
    const auto n = static_cast<int64_t>(tokens.size());
    schedule::Session session(*machine.model, n);
    session.logits(session.forward(tokens));
    const schedule::MemoryPlan plan = schedule::plan_memory(machine.reader, machine.model->config(), {n, 1, n, n});
    for (size_t d = 0; d < 3; ++d) {
      schedule::LayerRange layers;  // of this device
      for (int i = machine.model->n_layers() - 1; i >= 0; --i) {
        if (&machine.model->backend(i) == machine.devices[d].get()) layers = {i, std::max(layers.end, i + 1)};
      }
      const uint64_t taken = before[d] - *machine.devices[d]->free_memory();
      EXPECT_GT(taken, 0u);
      EXPECT_LE(taken, plan.on_device(layers).total()) << name << " on device " << d;
    }
  }
}

TEST_F(CudaDevices, RefuseForEach) {
  start(2, size_t{96} << 20);
  const auto other = cuda(Precision::kExact, 1);
  const Buffer taken = other->allocate(size_t{80} << 20);
  const Machine machine(model("llama"), 2);
  try {
    const schedule::Session session(*machine.model, 64);
    FAIL();
  } catch (const Error& error) {
    const std::string what = error.what();
    EXPECT_TRUE(what.starts_with("cuda:1: ")) << what;
    EXPECT_NE(what.find("MiB do not fit: weights "), std::string::npos) << what;
  }
}

}  // namespace
}  // namespace steelyard::compute
