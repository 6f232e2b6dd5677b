// Devices that fail in the middle of a run: one clear Error. What the host has saved is complete, so the run can be
// resumed on other devices, and ends with the digits of an undisturbed run.
#include <cstring>

#include "base/error.h"
#include "calibrate/collect.h"
#include "compute/cuda/on_device.h"
#include "evaluate/evaluation.h"
#include "gguf/reader.h"
#include "support.h"

namespace steelyard::compute {
namespace {

enum class Fault { kMemory, kKernel };

class CudaFaults : public CudaTest {
 protected:
  // Spoils the device: another program takes all of its memory, or a kernel of it reads where nothing is, after which
  // it refuses everything, as a device does that is lost.
  void spoil(Fault fault, Backend& backend) {
    if (fault == Fault::kMemory) {
      for (size_t bytes = *backend.free_memory(); bytes > 4096; bytes = *backend.free_memory() / 2) {
        taken_.push_back(backend.allocate(bytes));
      }
      return;
    }
    taken_.push_back(backend.allocate(64));
    const Matrix nowhere{reinterpret_cast<float*>(taken_.back().get()), 100000, 16, 16};
    backend.scale(nowhere, 2.0f);
  }

  // `work` fails with one line that names the device.
  void expect_fault(Fault fault, const std::function<void()>& work) {
    try {
      work();
      FAIL() << "no error";
    } catch (const Error& error) {
      const std::string what = error.what();
      EXPECT_TRUE(what.starts_with("cuda:0: ")) << what;
      EXPECT_NE(what.find(fault == Fault::kMemory ? "out of memory" : "illegal memory access"), std::string::npos)
          << what;
      EXPECT_EQ(what.find('\n'), std::string::npos);
    }
    taken_.clear();
  }

  // AddressSanitizer finds the fault of a kernel itself and ends the program.
#ifdef __SANITIZE_ADDRESS__
  static constexpr bool kKernelsCanFail = false;
#else
  static constexpr bool kKernelsCanFail = true;
#endif
  const test::TempFolder folder_;

 private:
  std::vector<Buffer> taken_;
};

TEST_F(CudaFaults, ImportanceGoesOn) {
  const gguf::Reader reader(test::golden("models/deepseek2/model.gguf"));
  std::vector<tokenizer::TokenId> ids(6 * 16);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<tokenizer::TokenId>(i * 37 % 250);
  const tokenizer::Chunks chunks(ids, 16, 0, std::nullopt, "ids");
  const auto collect = [&](const calibrate::CollectOptions& options, Fault fault, int64_t spoil_at) {
    const auto backend = cuda();
    const model::Model model(reader, *backend);
    return collect_imatrix(model, chunks, options, [&](int64_t, int64_t, int64_t done, int64_t) {
      if (done == spoil_at) spoil(fault, *backend);
    });
  };
  struct Case {
    Fault fault;
    bool layer_major;
    int64_t at;  // step
  };
  // Token by token, everything is allocated in the first window, before there is anything to save. Layer by layer, the
  // next layer may be loaded already, but not the one after that.
  for (const Case& c : {Case{Fault::kMemory, true, 1}, {Fault::kKernel, true, 2}, {Fault::kKernel, false, 6}}) {
    if (c.fault == Fault::kKernel && !kKernelsCanFail) continue;
    start(1);
    calibrate::CollectOptions options;
    options.sweep.keep_layers = !c.layer_major;
    options.sweep.n_batch = 32;
    const calibrate::CollectResult whole = collect(options, c.fault, -1);
    options.progress_path = folder_ / "progress";
    options.identity = std::string(64, '0');
    options.save_every = std::chrono::milliseconds(0);
    expect_fault(c.fault, [&] { collect(options, c.fault, c.at); });
    EXPECT_TRUE(std::filesystem::exists(folder_ / "progress"));
    start(1);  // a device that works
    calibrate::CollectResult resumed = collect(options, c.fault, -1);
    resumed.progress.remove();
    EXPECT_GT(resumed.resumed_chunks + resumed.resumed_layers, 0);
    ASSERT_EQ(resumed.imatrix.entries.size(), whole.imatrix.entries.size());
    for (const auto& [name, entry] : whole.imatrix.entries) {
      EXPECT_EQ(resumed.imatrix.entries.at(name).in_sum2, entry.in_sum2) << name;
      EXPECT_EQ(resumed.imatrix.entries.at(name).counts, entry.counts) << name;
    }
  }
}

TEST_F(CudaFaults, PerplexityGoesOn) {
  if (!kKernelsCanFail) GTEST_SKIP() << "AddressSanitizer finds the fault itself and ends the program";
  const gguf::Reader reader(test::golden("models/deepseek2/model.gguf"));
  const tokenizer::Tokenizer tokenizer(reader.metadata());
  const tokenizer::Chunks chunks(tokenize_file(tokenizer, test::golden("imatrix/text.txt"), false), 32, 6,
                                 chunk_bos(tokenizer), "text");
  const auto run = [&](const evaluate::EvaluationOptions& options, size_t spoil_at) {
    const auto backend = cuda();
    const model::Model model(reader, *backend);
    bool spoilt = false;
    return evaluate::evaluate(model, evaluate::model_identity(reader, model.config(), tokenizer), chunks, nullptr,
                              options, [&](std::span<const evaluate::TokenScore> scores) {
                                if (scores.size() >= spoil_at && !std::exchange(spoilt, true))
                                  spoil(Fault::kKernel, *backend);
                              });
  };
  evaluate::EvaluationOptions options;
  options.sweep.keep_layers = true;
  options.sweep.n_batch = 32;
  options.settings = "cuda";
  const evaluate::EvaluationResult whole = run(options, SIZE_MAX);
  options.progress_path = folder_ / "progress";
  options.save_every = std::chrono::milliseconds(0);
  expect_fault(Fault::kKernel, [&] { run(options, 3 * 15); });
  EXPECT_TRUE(std::filesystem::exists(folder_ / "progress"));
  start(1);
  evaluate::EvaluationResult resumed = run(options, SIZE_MAX);
  resumed.progress.remove();
  EXPECT_GT(resumed.resumed_chunks, 0);
  ASSERT_EQ(resumed.scores.size(), whole.scores.size());
  EXPECT_EQ(std::memcmp(resumed.scores.data(), whole.scores.data(), whole.scores.size() * sizeof(evaluate::TokenScore)),
            0);
}

}  // namespace
}  // namespace steelyard::compute
