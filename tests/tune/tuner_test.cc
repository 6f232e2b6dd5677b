// Whole runs: which chunks they see, which state is the result, and that neither threads nor an interruption change it.
#include "tune/tuner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/parallel.h"
#include "base/sha256.h"
#include "error_of.h"
#include "tune/tiny_tuning.h"

namespace steelyard::tune {
namespace {

using testing::HasSubstr;

class TunerTest : public testing::Test {
 protected:
  TunerTest() { write_in_types("llama", matrices_in(Type::Q4_0), model_); }
  ~TunerTest() override { set_thread_count(threads_); }

  static const Teacher& teacher() {
    static const Teacher teacher("llama");
    return teacher;
  }
  std::unique_ptr<TinyTuning> tuning(const TunerSettings& settings, const Rates& rates = kRates) const {
    return std::make_unique<TinyTuning>(model_, teacher(), rates, settings);
  }
  // The file with what was kept in its place.
  std::string written(const TinyTuning& tuning) const {
    test::ModelCopy copy(model_);
    for (auto& [info, bytes] : copy.tensors) {
      const std::vector<std::byte> kept = tuning.parameters.bytes(info);
      if (!kept.empty()) bytes = kept;
    }
    copy.save(folder_ / "tuned.gguf");
    return folder_ / "tuned.gguf";
  }

  const int threads_ = set_thread_count(0);
  const test::TempFolder folder_;
  void save(const Tuner& tuner) const {
    ResumeFile file = Tuner::open_state(state_, identity_);
    tuner.save(file);
  }

  const std::string model_ = folder_ / "q.gguf", state_ = folder_ / "state",
                    identity_ = sha256(std::string("this run"));
  const TunerSettings settings_ = {.steps = 6, .chunks_per_step = 2, .n_held_out = 2, .compare_every = 2, .seed = 0};
};

TEST_F(TunerTest, EachTrainingChunkOncePerEpochAndNoneThatIsHeldOut) {
  for (const uint64_t seed : {0, 1}) {
    const auto run = tuning({.steps = 6, .chunks_per_step = 2, .n_held_out = 2, .compare_every = 100, .seed = seed});
    EXPECT_EQ(run->tuner.advance(), 0);
    EXPECT_EQ(run->seen, (std::set<int64_t>{6, 7}));  // the last of 8
    for (int epoch = 0; epoch < 2; ++epoch) {
      std::set<int64_t> trained;
      for (int step = 0; step < 3; ++step) {
        run->seen.clear();
        run->tuner.advance();
        if (run->tuner.finished()) continue;  // it has compared, too
        EXPECT_EQ(run->seen.size(), 2u);
        for (const int64_t chunk : run->seen) EXPECT_TRUE(trained.insert(chunk).second) << chunk << " again";
      }
      if (epoch == 0) {
        EXPECT_EQ(trained, (std::set<int64_t>{0, 1, 2, 3, 4, 5}));
      }
    }
  }
}

// An order of its own for each seed and epoch.
TEST_F(TunerTest, TheSeedShufflesChunks) {
  const auto order = [&](uint64_t seed) {
    const auto run = tuning({.steps = 12, .chunks_per_step = 1, .n_held_out = 2, .compare_every = 100, .seed = seed});
    std::vector<int64_t> chunks;
    for (run->tuner.advance(); run->tuner.done() < 11;) {
      run->seen.clear();
      run->tuner.advance();
      chunks.insert(chunks.end(), run->seen.begin(), run->seen.end());
    }
    return chunks;
  };
  const std::vector<int64_t> zero = order(0);
  EXPECT_EQ(order(0), zero);
  EXPECT_NE(order(1), zero);
  EXPECT_FALSE(std::equal(zero.begin(), zero.begin() + 5, zero.begin() + 6));
}

// More chunks for a step than there are to train on: all of them.
TEST_F(TunerTest, AStepOfMoreChunksThanThereAre) {
  const auto run = tuning({.steps = 2, .chunks_per_step = 50, .n_held_out = 2, .compare_every = 100, .seed = 0});
  run->tuner.advance();
  run->seen.clear();
  run->tuner.advance();
  EXPECT_EQ(run->seen, (std::set<int64_t>{0, 1, 2, 3, 4, 5}));
}

TEST_F(TunerTest, ComparesAtFirstNowAndThenAndAtTheEnd) {
  const auto run = tuning({.steps = 5, .chunks_per_step = 2, .n_held_out = 2, .compare_every = 2, .seed = 0});
  run->finish();
  std::vector<int64_t> steps;
  for (const Comparison& at : run->tuner.comparisons()) {
    steps.push_back(at.step);
    EXPECT_GT(at.divergence, 0);
    EXPECT_EQ(at.training > 0, at.step > 0);
    EXPECT_LT(at.training, 2 * run->tuner.comparisons().front().divergence) << "it is a mean";
  }
  EXPECT_EQ(steps, (std::vector<int64_t>{0, 2, 4, 5}));
  EXPECT_EQ(run->tuner.done(), 5);
}

// The result computes what was compared: a file with it has the best divergence from the start, to the last bit.
TEST_F(TunerTest, TheBestOfTheHeldOutIsTheResult) {
  const auto run = tuning({.steps = 16, .chunks_per_step = 3, .n_held_out = 2, .compare_every = 4, .seed = 0});
  run->finish();
  const Comparison& best = run->tuner.best();
  ASSERT_GT(best.step, 0);
  EXPECT_LT(best.divergence, 0.99 * run->tuner.comparisons().front().divergence);
  TinyTuning again(written(*run), teacher());
  again.tuner.advance();
  EXPECT_EQ(again.tuner.comparisons().front().divergence, best.divergence);
}

// It is better first, and then thrown off by longer steps: the better state is kept, not the last.
TEST_F(TunerTest, ALaterStateThatIsWorseIsNotTheResult) {
  const auto run = tuning({.steps = 40, .chunks_per_step = 2, .n_held_out = 2, .compare_every = 1, .seed = 0},
                          {.vectors = 5, .routers = 0, .scales = 5});
  run->finish();
  const Comparison best = run->tuner.best();
  ASSERT_GT(best.step, 0);
  ASSERT_LT(best.step, 40);
  for (const Comparison& at : run->tuner.comparisons()) EXPECT_GE(at.divergence, best.divergence);
  TinyTuning again(written(*run), teacher());
  again.tuner.advance();
  EXPECT_EQ(again.tuner.comparisons().front().divergence, best.divergence);
}

TEST_F(TunerTest, WhereNothingBeatsTheFileNothingChanges) {
  const auto run = tuning(settings_, {.vectors = 1e6, .routers = 0, .scales = 1e6});
  run->finish();
  EXPECT_EQ(run->tuner.best().step, 0);
  EXPECT_FALSE(run->parameters.changed());
  for (const auto& [name, bytes] : run->bytes()) EXPECT_TRUE(bytes.empty()) << name;
}

TEST_F(TunerTest, IsTheSameForAnyNumberOfThreads) {
  std::map<std::string, std::vector<std::byte>> whole;
  std::vector<double> divergences;
  for (const int threads : {1, 2, 5}) {
    set_thread_count(threads);
    const auto run = tuning(settings_);
    run->finish();
    ASSERT_TRUE(run->parameters.changed());
    std::vector<double> found;
    for (const Comparison& at : run->tuner.comparisons()) found.insert(found.end(), {at.divergence, at.training});
    if (threads == 1) {
      whole = run->bytes();
      divergences = found;
    }
    EXPECT_EQ(run->bytes(), whole) << threads;
    EXPECT_EQ(found, divergences) << threads;
  }
}

TEST_F(TunerTest, Shortened) {
  const auto run = tuning(settings_);
  for (int i = 0; i < 3; ++i) run->tuner.advance();
  run->tuner.shorten(100);
  EXPECT_EQ(run->tuner.steps(), 6) << "not longer";
  run->tuner.shorten(5);
  EXPECT_EQ(run->tuner.steps(), 5);
  // Where time is over, one more step ends in a comparison.
  run->tuner.shorten(-100);
  EXPECT_EQ(run->tuner.steps(), 3);
  run->finish();
  EXPECT_EQ(run->tuner.done(), 3);
  EXPECT_EQ(run->tuner.comparisons().back().step, 3);
  run->tuner.shorten(1);
  EXPECT_TRUE(run->tuner.finished());
  EXPECT_EQ(run->tuner.steps(), 3);
}

TEST_F(TunerTest, GoesOnFromASavedState) {
  const auto whole = tuning(settings_);
  whole->finish();
  for (int stop = 1; stop <= 7; ++stop) {
    const auto first = tuning(settings_);
    EXPECT_FALSE(first->tuner.load(Tuner::open_state(folder_ / "none", identity_)));
    for (int i = 0; i < stop; ++i) first->tuner.advance();
    save(first->tuner);
    const auto second = tuning(settings_);
    ASSERT_TRUE(second->tuner.load(Tuner::open_state(state_, identity_)));
    EXPECT_EQ(second->tuner.done(), stop - 1);
    second->finish();
    EXPECT_EQ(second->bytes(), whole->bytes()) << stop;
    ASSERT_EQ(second->tuner.comparisons().size(), whole->tuner.comparisons().size());
    for (size_t i = 0; i < whole->tuner.comparisons().size(); ++i) {
      const Comparison &is = second->tuner.comparisons()[i], &was = whole->tuner.comparisons()[i];
      EXPECT_EQ(std::tie(is.step, is.divergence, is.training), std::tie(was.step, was.divergence, was.training));
    }
  }
}

// A shortened run stays so.
TEST_F(TunerTest, AShortenedRunGoesOn) {
  const auto first = tuning(settings_);
  for (int i = 0; i < 3; ++i) first->tuner.advance();
  first->tuner.shorten(4);
  save(first->tuner);
  first->finish();
  const auto second = tuning(settings_);
  ASSERT_TRUE(second->tuner.load(Tuner::open_state(state_, identity_)));
  second->finish();
  EXPECT_EQ(second->tuner.done(), 4);
  EXPECT_EQ(second->bytes(), first->bytes());
}

TEST_F(TunerTest, AStateThatIsDamagedOrOfAnotherRun) {
  const auto run = tuning(settings_);
  for (int i = 0; i < 3; ++i) run->tuner.advance();
  save(run->tuner);
  const std::string whole = test::read_text(state_);
  const auto error_of = [&](const std::string& bytes, const std::string& identity) {
    std::ofstream(state_, std::ios::binary) << bytes;
    return test::error_of([&] { tuning(settings_)->tuner.load(Tuner::open_state(state_, identity)); });
  };
  EXPECT_EQ(error_of(whole, identity_), "");
  EXPECT_THAT(error_of(whole, sha256(std::string("another run"))), HasSubstr("another model, text, teacher, options"));
  EXPECT_THAT(error_of("STEEL", identity_), HasSubstr("not the progress of a tuning run"));
  EXPECT_THAT(error_of("GGUF" + whole, identity_), HasSubstr("not the progress of a tuning run"));
  for (const size_t at : {size_t{8}, size_t{72}, size_t{80}, size_t{200}, whole.size() / 2, whole.size() - 1}) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    EXPECT_THAT(error_of(damaged, identity_), HasSubstr("is damaged")) << at;
    EXPECT_NE(error_of(whole.substr(0, at), identity_), "") << at;
  }
}

}  // namespace
}  // namespace steelyard::tune
