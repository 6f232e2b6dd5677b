// An interrupted run is taken up and ends in the bytes of an uninterrupted one, or is refused for a reason that is
// named.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <map>

#include "base/atomic_file.h"
#include "base/error.h"
#include "error_of.h"
#include "gguf/reader.h"
#include "quantize/layer_encoder.h"
#include "quantize/quantize.h"
#include "support.h"

namespace steelyard::quantize {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr const char* kPlan = "exps = Q4_K\n* = Q8_0\n";

// Knows of no tensor, but reads what an earlier run has finished, as calibration does.
class Reading : public LayerEncoder {
 public:
  bool covers(const plan::Decision&) const override { return false; }
  std::optional<std::vector<std::byte>> encode(const plan::Decision&) override { return std::nullopt; }
  void finished(const plan::Decision& decision, std::span<const std::byte> bytes) override {
    EXPECT_EQ(bytes.size(), decision.bytes);
  }
};

class Resume : public testing::Test {
 protected:
  Resume() { fs::copy_file(test::golden("imatrix/deepseek2_k256/model.gguf"), model_); }

  struct Run {
    ResumePolicy resume_policy = ResumePolicy::kResume;
    std::string plan = kPlan;
    std::string version = "1";
    std::string imatrix = "";
    std::string options = "{}";
    uint64_t split = 0;
  };

  // Calls `on_tensor` before each tensor.
  QuantizeResult run(
      const Run& run, const std::function<void(size_t)>& on_tensor = [](size_t) {}) {
    const gguf::Reader reader(model_);
    const plan::Plan plan = plan::Plan::parse(run.plan, "test.plan");
    const plan::Resolution resolution = resolve(plan, reader.tensors());
    const QuantizeTarget target{.path = out_,
                                .provenance = {run.version, plan.text(), "model.gguf", run.imatrix, run.options},
                                .split = {.max_bytes = run.split},
                                .resume_policy = run.resume_policy};
    size_t last = n_tensors_;
    Reading layers;
    return quantize({.source = reader, .resolution = resolution, .layers = &layers}, target,
                    [&](const QuantizeProgress& progress) {
                      if (progress.info != nullptr && progress.tensor != last) on_tensor(progress.tensor);
                      last = progress.tensor;
                    });
  }

  // The threads of the parent did not come along, and nothing may return into its tests.
  [[noreturn]] static void in_child(const std::function<void()>& work) {
    omp_set_num_threads(1);
    try {
      work();
    } catch (const Error&) {
      ::_exit(1);
    }
    ::_exit(0);
  }

  // Killed when `n` tensors are written: nothing is closed, synced or cleaned up.
  void kill_after(size_t n, const Run& how) {
    const pid_t child = ::fork();
    if (child == 0)
      in_child([&] {
        run(how, [&](size_t tensor) {
          ::usleep(2000);  // so that some tensors are on the disk already
          if (tensor == n) ::_exit(9);
        });
      });
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_EQ(WEXITSTATUS(status), n < n_tensors_ ? 9 : 0);
  }

  std::string error_of(const Run& how) {
    return test::error_of([&] { run(how); });
  }

  // Path → content of the result.
  std::map<std::string, std::string> results(const QuantizeResult& result) {
    std::map<std::string, std::string> found;
    for (const std::string& path : result.paths) found[path] = test::read_text(path);
    return found;
  }

  void remove_results() {
    for (const auto& entry : fs::directory_iterator(folder_ / "")) {
      if (entry.path() != model_) fs::remove(entry.path());
    }
  }

  void expect_nothing_left(size_t n_results) {
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / ""), {}), static_cast<long>(n_results) + 1);
  }

  test::TempFolder folder_;
  const std::string model_ = folder_ / "model.gguf", out_ = folder_ / "out.gguf";
  const size_t n_tensors_ = gguf::Reader(test::golden("imatrix/deepseek2_k256/model.gguf")).tensors().size();
};

TEST_F(Resume, KilledBeforeEveryTensor) {
  for (const uint64_t split : {uint64_t{0}, uint64_t{100000}}) {
    const auto whole = results(run({.split = split}));
    for (size_t n = 0; n < n_tensors_; n += 5) {
      remove_results();
      kill_after(n, {.split = split});
      for (const auto& [path, text] : whole) EXPECT_FALSE(fs::exists(path)) << "killed at " << n;
      size_t first = n_tensors_;
      const QuantizeResult result = run({.split = split}, [&](size_t tensor) { first = std::min(first, tensor); });
      EXPECT_TRUE(results(result) == whole) << "killed at " << n;
      EXPECT_LE(first, n);
      if (n > 5) {
        EXPECT_GT(first, 0u) << "nothing was taken up";
      }
      expect_nothing_left(whole.size());
    }
    remove_results();
  }
}

TEST_F(Resume, KilledAgainAndAgain) {
  const auto whole = results(run({}));
  remove_results();
  for (const size_t n : {4u, 9u, 15u}) kill_after(n, {});
  EXPECT_TRUE(results(run({})) == whole);
}

TEST_F(Resume, WithoutTheFlagNothingIsLost) {
  kill_after(9, {});
  const std::string partial = test::read_text(out_ + ".partial");
  EXPECT_THAT(error_of({.resume_policy = ResumePolicy::kRefuse}), HasSubstr("an interrupted run has finished"));
  EXPECT_TRUE(test::read_text(out_ + ".partial") == partial);
  const auto fresh = results(run({.resume_policy = ResumePolicy::kDiscard}));
  remove_results();
  EXPECT_TRUE(fresh == results(run({})));
}

TEST_F(Resume, OtherRunsAreRefusedByName) {
  kill_after(9, {});
  EXPECT_THAT(error_of({.plan = "* = Q8_0"}), HasSubstr("the interrupted run differs in plan"));
  EXPECT_THAT(error_of({.version = "2"}), HasSubstr("differs in version: found '1', now '2'"));
  EXPECT_THAT(error_of({.imatrix = std::string(64, 'a')}), HasSubstr("differs in imatrix"));
  EXPECT_THAT(error_of({.options = R"({"effort":"best"})"}),
              HasSubstr(R"(differs in options: found '{}', now '{"effort":"best"}')"));
  EXPECT_THAT(error_of({.split = 100000}), HasSubstr("differs in shards"));
  EXPECT_NO_THROW(run({}));
}

TEST_F(Resume, ChangedSourceIsRefused) {
  kill_after(9, {});
  fs::last_write_time(model_, fs::file_time_type::clock::now());
  EXPECT_THAT(error_of({}), HasSubstr("differs in source-files"));
}

// The same size and time, other content: only reading it again shows that.
TEST_F(Resume, SecretlyChangedSourceIsRefused) {
  kill_after(9, {});
  struct stat status {};
  ASSERT_EQ(::stat(model_.c_str(), &status), 0);
  const gguf::Reader reader(model_);
  const uint64_t first = reader.file_offset(reader.tensors()[0]);
  const int fd = ::open(model_.c_str(), O_WRONLY);
  ASSERT_EQ(::pwrite(fd, "x", 1, static_cast<off_t>(first)), 1);
  const timespec times[] = {status.st_atim, status.st_mtim};
  ASSERT_EQ(::futimens(fd, times), 0);
  ::close(fd);
  EXPECT_THAT(error_of({}), HasSubstr("has changed since the interrupted run"));
}

TEST_F(Resume, DamagedPartialFileIsRefused) {
  kill_after(9, {});
  const gguf::Reader header(out_ + ".partial", gguf::ReadMode::kHeader);
  const int fd = ::open((out_ + ".partial").c_str(), O_WRONLY);
  ASSERT_EQ(::pwrite(fd, "xyz", 3, static_cast<off_t>(header.file_offset(header.tensors()[0]))), 3);
  ::close(fd);
  EXPECT_THAT(error_of({}), HasSubstr("is not what the journal says"));
  EXPECT_FALSE(fs::exists(out_));
}

// A partial file that no journal speaks of is somebody's.
TEST_F(Resume, APartialFileOfSomebodyElseStays) {
  for (const auto policy : {ResumePolicy::kRefuse, ResumePolicy::kResume}) {
    write_file(out_ + ".partial", "half a download");
    EXPECT_THAT(error_of({.resume_policy = policy}), HasSubstr("out.gguf.partial: exists, and no interrupted run"));
    EXPECT_EQ(test::read_text(out_ + ".partial"), "half a download");
    EXPECT_FALSE(fs::exists(out_ + ".journal"));
  }
  EXPECT_NO_THROW(run({.resume_policy = ResumePolicy::kDiscard}));
}

TEST_F(Resume, MissingPartialFileIsRefused) {
  kill_after(9, {});
  fs::remove(out_ + ".partial");
  EXPECT_THAT(error_of({}), HasSubstr("out.gguf.partial"));
  EXPECT_NO_THROW(run({.resume_policy = ResumePolicy::kDiscard}));
}

// Whatever happens to the journal: the right bytes or a refusal.
TEST_F(Resume, DamagedJournal) {
  const auto whole = results(run({}));
  remove_results();
  kill_after(9, {});
  const std::string journal = test::read_text(out_ + ".journal"), partial = test::read_text(out_ + ".partial");
  size_t refused = 0, taken_up = 0;
  for (size_t i = 0; i < journal.size(); i += 97) {
    for (const bool cut : {false, true}) {
      std::string damaged = cut ? journal.substr(0, i) : journal;
      if (!cut) damaged[i] = static_cast<char>(damaged[i] ^ 4);
      remove_results();
      write_file(out_ + ".journal", damaged);
      write_file(out_ + ".partial", partial);
      const std::string error = error_of({});
      if (error.empty()) {
        ++taken_up;
        ASSERT_TRUE(test::read_text(out_) == whole.at(out_)) << i;
      } else {
        ++refused;
        ASSERT_FALSE(fs::exists(out_)) << error;
      }
    }
  }
  EXPECT_GT(refused, 0u);
  EXPECT_GT(taken_up, 0u);
}

// Killed among the renames at the end: the first shards have their names, the others not yet.
TEST_F(Resume, KilledBetweenRenames) {
  const Run how{.split = 100000};
  const QuantizeResult result = run(how);
  const auto whole = results(result);
  ASSERT_GT(result.paths.size(), 2u);
  for (size_t renamed = 0; renamed <= result.paths.size(); ++renamed) {
    remove_results();
    const pid_t child = ::fork();
    if (child == 0)
      in_child([&] {
        run(how, [&](size_t tensor) {  // a folder in the way of the next name stops the renaming there
          if (tensor == 1 && renamed < result.paths.size()) fs::create_directory(result.paths[renamed]);
        });
      });
    int status = 0;
    ::waitpid(child, &status, 0);
    for (size_t i = 0; i < result.paths.size(); ++i) {
      if (fs::is_directory(result.paths[i])) fs::remove(result.paths[i]);
    }
    EXPECT_TRUE(results(run(how)) == whole) << renamed;
    expect_nothing_left(whole.size());
  }
}

TEST_F(Resume, NothingToTakeUpIsABeginning) {
  EXPECT_NO_THROW(run({}));
  EXPECT_NO_THROW(run({})) << "a finished result is not an interrupted one";
}

TEST_F(Resume, FailureInTheMiddleCanBeTakenUpToo) {
  const auto whole = results(run({}));
  remove_results();
  EXPECT_THROW(run({},
                   [](size_t tensor) {
                     ::usleep(2000);
                     if (tensor == 9) throw Error("disk", "broke");
                   }),
               Error);
  EXPECT_FALSE(fs::exists(out_));
  EXPECT_TRUE(fs::exists(out_ + ".journal"));
  EXPECT_TRUE(results(run({})) == whole);
}

}  // namespace
}  // namespace steelyard::quantize
