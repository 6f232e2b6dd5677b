// Both file layouts against llama.cpp's files, the look-up by model tensor, merging, statistics.
#include "imatrix/imatrix.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "gguf/reader.h"
#include "growth.h"
#include "imatrix/statistics.h"
#include "support.h"

namespace steelyard::imatrix {
namespace {

const std::vector<std::string> kModels = {"deepseek2", "deepseek2_k256"};

// Without a prior: a .dat file does not distinguish experts, so they could not borrow anything.
Imatrix golden_gguf(const std::string& model = "deepseek2") {
  Imatrix imatrix = Imatrix::load(test::golden("imatrix/" + model + "/imatrix.gguf"));
  imatrix.prior_weight = 0;
  return imatrix;
}

Imatrix golden_dat(const std::string& model = "deepseek2") {
  return Imatrix::load(test::golden("imatrix/" + model + "/imatrix.dat"));
}

gguf::TensorInfo tensor(const std::string& name, std::array<int64_t, gguf::kMaxDims> ne) {
  gguf::TensorInfo info;
  info.name = name;
  info.n_dims = ne[2] > 1 ? 3 : 2;
  info.ne = ne;
  return info;
}

// One dense tensor of 2 columns and one of 2 experts with 3 columns. The second expert saw no input.
Imatrix small() {
  Imatrix imatrix;
  imatrix.entries["a.weight"] = {.n_in = 2, .n_expert = 1, .in_sum2 = {10, 40}, .counts = {20}};
  imatrix.entries["e.weight"] = {.n_in = 3, .n_expert = 2, .in_sum2 = {4, 8, 12, 0, 0, 0}, .counts = {4, 0}};
  imatrix.datasets = {"one.txt"};
  imatrix.chunk_count = 2;
  imatrix.chunk_size = 10;
  return imatrix;
}

void expect_equal(const Imatrix& a, const Imatrix& b) {
  EXPECT_EQ(a.datasets, b.datasets);
  EXPECT_EQ(a.chunk_count, b.chunk_count);
  EXPECT_EQ(a.chunk_size, b.chunk_size);
  ASSERT_EQ(a.entries.size(), b.entries.size());
  for (const auto& [name, entry] : a.entries) {
    ASSERT_TRUE(b.entries.contains(name)) << name;
    const ImatrixEntry& other = b.entries.at(name);
    EXPECT_EQ(entry.n_in, other.n_in) << name;
    EXPECT_EQ(entry.n_expert, other.n_expert) << name;
    EXPECT_EQ(entry.in_sum2, other.in_sum2) << name;
    EXPECT_EQ(entry.counts, other.counts) << name;
  }
}

// Importance of every matrix of every tensor of the model agrees to `tolerance` (relative).
void expect_same_importance(const Imatrix& a, const Imatrix& b, const gguf::Reader& model, double tolerance) {
  int n_compared = 0;
  for (const gguf::TensorInfo& info : model.tensors()) {
    for (int64_t slice = 0; slice < info.ne[2] * info.ne[3]; ++slice) {
      const std::vector<float> ours = a.importance(info, slice);
      const std::vector<float> theirs = b.importance(info, slice);
      ASSERT_EQ(ours.size(), theirs.size()) << info.name;
      for (size_t i = 0; i < ours.size(); ++i) {
        ASSERT_LE(std::abs(ours[i] - theirs[i]), tolerance * std::abs(theirs[i]))
            << info.name << " " << slice << " " << i;
      }
      n_compared += !ours.empty();
    }
  }
  EXPECT_GE(n_compared, 35);
}

TEST(Imatrix, ReadsGguf) {
  const Imatrix imatrix = golden_gguf();
  EXPECT_EQ(imatrix.datasets, std::vector<std::string>{"text.txt"});
  EXPECT_EQ(imatrix.chunk_count, 8);
  EXPECT_EQ(imatrix.chunk_size, 64);
  EXPECT_EQ(imatrix.entries.size(), 35u);

  const ImatrixEntry& dense = imatrix.entries.at("blk.0.attn_q_a.weight");
  EXPECT_EQ(dense.n_in, 64);
  EXPECT_EQ(dense.n_expert, 1);
  EXPECT_EQ(dense.counts, std::vector<int64_t>{512});
  EXPECT_FLOAT_EQ(dense.in_sum2[0], 499.77655f);

  const ImatrixEntry& experts = imatrix.entries.at("blk.1.ffn_down_exps.weight");
  EXPECT_EQ(experts.n_in, 24);
  EXPECT_EQ(experts.n_expert, 8);
  EXPECT_EQ(experts.in_sum2.size(), 24u * 8);
  EXPECT_EQ(experts.counts[1], 20);
  int64_t routed = 0;
  for (const int64_t count : experts.counts) routed += count;
  EXPECT_EQ(routed, 512 * 2);
}

TEST(Imatrix, ReadsDat) {
  const Imatrix imatrix = golden_dat();
  EXPECT_EQ(imatrix.datasets, std::vector<std::string>{"text.txt"});
  EXPECT_EQ(imatrix.chunk_count, 8);
  EXPECT_EQ(imatrix.entries.size(), 35u);
  const ImatrixEntry& experts = imatrix.entries.at("blk.1.ffn_down_exps.weight");
  EXPECT_EQ(experts.n_in, 24 * 8);
  EXPECT_EQ(experts.n_expert, 1);
  EXPECT_EQ(experts.counts, std::vector<int64_t>{6 * 512});
}

TEST(Imatrix, WritesTheSameBytesAsItRead) {
  const test::TempFolder folder;
  for (const std::string& model : kModels) {
    for (const std::string name : {"imatrix.gguf", "imatrix_with_output.gguf", "imatrix.dat"}) {
      const std::string path = test::golden("imatrix/" + model + "/" + name);
      Imatrix::load(path).save(folder / name);
      EXPECT_EQ(test::read_text(folder / name), test::read_text(path)) << path;
    }
  }
}

TEST(Imatrix, LayoutsHoldTheSameImportance) {
  const test::TempFolder folder;
  for (const std::string& model : kModels) {
    const gguf::Reader tensors(test::golden("imatrix/" + model + "/model_Q8_0.gguf"));
    expect_same_importance(golden_dat(model), golden_gguf(model), tensors, 2.5e-7);

    golden_dat(model).save(folder / "from_dat.gguf");
    expect_same_importance(Imatrix::load(folder / "from_dat.gguf"), golden_dat(model), tensors, 0);

    golden_gguf(model).save(folder / "from_gguf.dat");
    expect_same_importance(Imatrix::load(folder / "from_gguf.dat"), golden_gguf(model), tensors, 2.5e-7);
  }
}

TEST(Imatrix, DatMatchesLlamaCppUpToRounding) {
  const test::TempFolder folder;
  for (const std::string& model : kModels) {
    golden_gguf(model).save(folder / "ours.dat");
    EXPECT_EQ(test::read_text(folder / "ours.dat").size(),
              test::read_text(test::golden("imatrix/" + model + "/imatrix.dat")).size());
    const Imatrix ours = Imatrix::load(folder / "ours.dat");
    const Imatrix theirs = golden_dat(model);
    ASSERT_EQ(ours.entries.size(), theirs.entries.size());
    for (const auto& [name, entry] : ours.entries) {
      const ImatrixEntry& other = theirs.entries.at(name);
      EXPECT_EQ(entry.counts, other.counts) << name;
      ASSERT_EQ(entry.in_sum2.size(), other.in_sum2.size()) << name;
      for (size_t i = 0; i < entry.in_sum2.size(); ++i) {
        ASSERT_NEAR(entry.in_sum2[i], other.in_sum2[i], 2.5e-7 * other.in_sum2[i]) << name << " " << i;
      }
    }
  }
}

TEST(Imatrix, SavedGgufComesBackWhole) {
  const test::TempFolder folder;
  Imatrix imatrix = small();
  imatrix.datasets = {"one.txt", "", "zwei \xC3\xA4.txt"};
  imatrix.save(folder / "small.gguf");
  expect_equal(Imatrix::load(folder / "small.gguf"), imatrix);
}

TEST(Imatrix, DatKeepsTheLastDatasetAndMissingExpertsAsOnes) {
  const test::TempFolder folder;
  Imatrix imatrix = small();
  imatrix.datasets = {"one.txt", "two.txt"};
  imatrix.save(folder / "small.dat");
  const Imatrix back = Imatrix::load(folder / "small.dat");
  EXPECT_EQ(back.datasets, std::vector<std::string>{"two.txt"});
  EXPECT_EQ(back.chunk_count, 2);
  const gguf::TensorInfo experts = tensor("e.weight", {3, 5, 2, 1});
  EXPECT_EQ(back.importance(experts, 0), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(back.importance(experts, 1), (std::vector<float>{1, 1, 1}));
  EXPECT_EQ(back.importance(tensor("a.weight", {2, 7, 1, 1}), 0), (std::vector<float>{0.5, 2}));
}

TEST(Imatrix, AnEntryWithoutAnyInputKeepsItsOnesInDat) {
  const test::TempFolder folder;
  Imatrix imatrix = small();
  imatrix.entries["a.weight"].counts = {0};
  imatrix.save(folder / "small.dat");
  EXPECT_EQ(Imatrix::load(folder / "small.dat").importance(tensor("a.weight", {2, 7, 1, 1}), 0),
            (std::vector<float>{1, 1}));
}

TEST(Imatrix, ImportanceIsTheMeanSquare) {
  const Imatrix imatrix = small();
  EXPECT_EQ(imatrix.importance(tensor("a.weight", {2, 7, 1, 1}), 0), (std::vector<float>{0.5, 2}));
  EXPECT_TRUE(imatrix.importance(tensor("b.weight", {2, 7, 1, 1}), 0).empty());
}

// Two experts of 2 columns: 6 inputs with means 1 and 2, 2 inputs with means 5 and 10. Their layer: 2 and 4.
Imatrix uneven() {
  Imatrix imatrix;
  imatrix.entries["e.weight"] = {.n_in = 2, .n_expert = 3, .in_sum2 = {6, 12, 10, 20, 0, 0}, .counts = {6, 2, 0}};
  return imatrix;
}

TEST(Imatrix, ExpertsBorrowFromTheirLayer) {
  const gguf::TensorInfo experts = tensor("e.weight", {2, 5, 3, 1});
  Imatrix imatrix = uneven();
  imatrix.prior_weight = 2;
  EXPECT_EQ(imatrix.importance(experts, 0), (std::vector<float>{10.0f / 8, 20.0f / 8}));
  EXPECT_EQ(imatrix.importance(experts, 1), (std::vector<float>{14.0f / 4, 28.0f / 4}));
  EXPECT_EQ(imatrix.importance(experts, 2), (std::vector<float>{2, 4}));
  imatrix.prior_weight = 1e30;
  for (int64_t e = 0; e < 3; ++e) EXPECT_EQ(imatrix.importance(experts, e), (std::vector<float>{2, 4})) << e;
}

TEST(Imatrix, WithoutAPriorOnlyExpertsWithoutDataBorrow) {
  const gguf::TensorInfo experts = tensor("e.weight", {2, 5, 3, 1});
  Imatrix imatrix = uneven();
  imatrix.prior_weight = 0;
  EXPECT_EQ(imatrix.importance(experts, 0), (std::vector<float>{1, 2}));
  EXPECT_EQ(imatrix.importance(experts, 1), (std::vector<float>{5, 10}));
  EXPECT_EQ(imatrix.importance(experts, 2), (std::vector<float>{2, 4}));
}

TEST(Imatrix, DefaultPriorLeavesWellCoveredExpertsAlone) {
  Imatrix imatrix;
  imatrix.entries["e.weight"] = {.n_in = 1, .n_expert = 2, .in_sum2 = {10000, 0}, .counts = {10000, 10000}};
  EXPECT_NEAR(imatrix.importance(tensor("e.weight", {1, 5, 2, 1}), 0)[0], 1, 1e-3);
}

TEST(Imatrix, DenseTensorsHaveNobodyToBorrowFrom) {
  Imatrix imatrix = small();
  imatrix.prior_weight = 1000;
  EXPECT_EQ(imatrix.importance(tensor("a.weight", {2, 7, 1, 1}), 0), (std::vector<float>{0.5, 2}));
}

TEST(Imatrix, EntriesWithoutAnyInputAreUnknown) {
  Imatrix imatrix = small();
  imatrix.entries["a.weight"].counts = {0};
  imatrix.entries["e.weight"].counts = {0, 0};
  EXPECT_TRUE(imatrix.importance(tensor("a.weight", {2, 7, 1, 1}), 0).empty());
  EXPECT_TRUE(imatrix.importance(tensor("e.weight", {3, 5, 2, 1}), 1).empty());
}

TEST(Imatrix, HeadsShareOneRow) {
  const Imatrix imatrix = golden_gguf();
  const ImatrixEntry& entry = imatrix.entries.at("blk.0.attn_v_b.weight");  // [32 columns, 4 heads] in one row
  const gguf::TensorInfo heads = tensor("blk.0.attn_v_b.weight", {32, 20, 4, 1});
  for (int64_t head = 0; head < 4; ++head) {
    const std::vector<float> importance = imatrix.importance(heads, head);
    ASSERT_EQ(importance.size(), 32u);
    for (int64_t i = 0; i < 32; ++i) {
      EXPECT_EQ(importance[i], static_cast<float>(entry.in_sum2[head * 32 + i] / 512)) << head << " " << i;
    }
  }
}

TEST(Imatrix, FitsItsModelTensorByTensor) {
  for (const std::string& model : kModels) {
    const gguf::Reader tensors(test::golden("imatrix/" + model + "/model_Q8_0.gguf"));
    for (const Imatrix& imatrix : {golden_gguf(model), golden_dat(model)}) {
      size_t n_found = 0;
      for (const gguf::TensorInfo& info : tensors.tensors()) n_found += imatrix.find(info) != nullptr;
      EXPECT_EQ(n_found, imatrix.entries.size());
    }
  }
}

TEST(Imatrix, RefusesAnotherModel) {
  const Imatrix imatrix = golden_gguf("deepseek2");
  try {
    imatrix.find(tensor("blk.0.attn_q_a.weight", {256, 64, 1, 1}));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), test::golden("imatrix/deepseek2/imatrix.gguf"));
    EXPECT_NE(
        std::string(error.what())
            .find("blk.0.attn_q_a.weight is [64, 1], expected [256, 1] for a tensor [256, 64]: this is the imatrix "
                  "of another model"),
        std::string::npos)
        << error.what();
  }
  EXPECT_THROW(small().find(tensor("e.weight", {3, 5, 3, 1})), Error);  // experts missing
  EXPECT_THROW(small().find(tensor("e.weight", {2, 5, 3, 1})), Error);  // same total, other split
  EXPECT_THROW(small().find(tensor("e.weight", {6, 5, 1, 1})), Error);
  EXPECT_THROW(small().find(tensor("a.weight", {1, 5, 1, 1})), Error);
}

TEST(Imatrix, MergeAdds) {
  Imatrix sum = small();
  Imatrix other = small();
  other.entries["a.weight"].in_sum2 = {1, 2};
  other.entries["a.weight"].counts = {3};
  other.entries["e.weight"].counts = {1, 5};
  other.entries["b.weight"] = other.entries["a.weight"];
  other.datasets = {"two.txt"};
  other.chunk_count = 1;
  other.chunk_size = 15;
  sum.merge(other);
  EXPECT_EQ(sum.entries["a.weight"].in_sum2, (std::vector<double>{11, 42}));
  EXPECT_EQ(sum.entries["a.weight"].counts, std::vector<int64_t>{23});
  EXPECT_EQ(sum.entries["e.weight"].counts, (std::vector<int64_t>{5, 5}));
  EXPECT_EQ(sum.entries["b.weight"].counts, std::vector<int64_t>{3});
  EXPECT_EQ(sum.datasets, (std::vector<std::string>{"one.txt", "two.txt"}));
  EXPECT_EQ(sum.chunk_size, 10);
  EXPECT_EQ(sum.chunk_count, 4);  // 20 + 15 tokens are 3.5 chunks of 10
}

TEST(Imatrix, MergeIntoNothingIsACopy) {
  Imatrix sum;
  sum.merge(small());
  expect_equal(sum, small());
}

TEST(Imatrix, MergeRefusesAnotherShapeAndChangesNothing) {
  Imatrix sum = small();
  Imatrix other = small();
  other.entries["e.weight"] = {.n_in = 6, .n_expert = 1, .in_sum2 = {1, 1, 1, 1, 1, 1}, .counts = {1}};
  EXPECT_THROW(sum.merge(other), Error);
  expect_equal(sum, small());
}

TEST(Imatrix, RefusesToSaveWhatNobodyCouldRead) {
  const test::TempFolder folder;
  for (const std::string name : {"bad.gguf", "bad.dat"}) {
    EXPECT_THROW(Imatrix().save(folder / name), Error);
    for (const double bad : {-1.0, double(NAN), double(INFINITY), 1e39}) {
      Imatrix imatrix = small();
      imatrix.entries["a.weight"].in_sum2[1] = bad;
      EXPECT_THROW(imatrix.save(folder / name), Error) << bad;
    }
    Imatrix imatrix = small();
    imatrix.chunk_size = 0;
    EXPECT_THROW(imatrix.save(folder / name), Error);
    EXPECT_FALSE(std::filesystem::exists(folder / name));
  }
}

TEST(ImatrixStatistics, SummarisesEachEntry) {
  const std::vector<ImatrixStatistics> all = statistics(small());
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].name, "a.weight");
  EXPECT_EQ(all[0].inputs, 20);
  EXPECT_EQ(all[0].experts_unseen, 0);
  EXPECT_EQ(all[0].min, 0.5);
  EXPECT_EQ(all[0].mean, 1.25);
  EXPECT_EQ(all[0].max, 2);
  EXPECT_EQ(all[1].name, "e.weight");
  EXPECT_EQ(all[1].n_in, 3);
  EXPECT_EQ(all[1].n_expert, 2);
  EXPECT_EQ(all[1].inputs, 4);
  EXPECT_EQ(all[1].experts_unseen, 1);
  EXPECT_EQ(all[1].min, 1);
  EXPECT_EQ(all[1].mean, 2);
  EXPECT_EQ(all[1].max, 3);
}

TEST(ImatrixStatistics, AnEntryWithoutInputsIsAllZero) {
  Imatrix imatrix = small();
  imatrix.entries["e.weight"].counts = {0, 0};
  const ImatrixStatistics entry = statistics(imatrix)[1];
  EXPECT_EQ(entry.experts_unseen, 2);
  EXPECT_EQ(entry.min, 0);
  EXPECT_EQ(entry.mean, 0);
  EXPECT_EQ(entry.max, 0);
}

TEST(Imatrix, ImportanceOfAllSlicesIsThatOfEach) {
  const gguf::TensorInfo experts = tensor("e.weight", {3, 7, 2, 1});
  const gguf::TensorInfo heads = tensor("h.weight", {2, 7, 3, 1});
  for (const double prior_weight : {0.0, 4.0}) {
    Imatrix imatrix = small();
    imatrix.entries["h.weight"] = {.n_in = 6, .n_expert = 1, .in_sum2 = {1, 2, 3, 4, 5, 6}, .counts = {2}};
    imatrix.prior_weight = prior_weight;
    for (const gguf::TensorInfo& info : {experts, heads, tensor("none.weight", {3, 7, 2, 1})}) {
      const std::vector<std::vector<float>> all = imatrix.importance(info);
      ASSERT_EQ(std::ssize(all), info.ne[2]);
      for (int64_t slice = 0; slice < info.ne[2]; ++slice) {
        EXPECT_EQ(all[static_cast<size_t>(slice)], imatrix.importance(info, slice)) << info.name;
      }
    }
  }
}

TEST(Imatrix, TimeOfImportanceGrowsWithTheExperts) {
  const double ratio = test::growth(
      2000,
      [](size_t n) {
        Imatrix imatrix;
        imatrix.entries["e.weight"] = {.n_in = 32,
                                       .n_expert = static_cast<int64_t>(n),
                                       .in_sum2 = std::vector<double>(32 * n, 1),
                                       .counts = std::vector<int64_t>(n, 1)};
        return imatrix;
      },
      [](const Imatrix& imatrix) {
        const int64_t n = imatrix.entries.at("e.weight").n_expert;
        EXPECT_EQ(std::ssize(imatrix.importance(tensor("e.weight", {32, 1, n, 1}))), n);
      });
  EXPECT_LT(ratio, test::kAboutLinear);
}

// What is added up stays a number: of experts of one entry, of two files, and of their chunks.
TEST(Imatrix, CountsDoNotOverflow) {
  const test::TempFolder folder;
  constexpr int64_t kMost = int64_t{1} << 53;
  Imatrix many = small();
  many.entries["e.weight"] = {.n_in = 1,
                              .n_expert = 2000,
                              .in_sum2 = std::vector<double>(2000, 1),
                              .counts = std::vector<int64_t>(2000, kMost)};
  EXPECT_THROW(many.save(folder / "a.gguf"), Error);
  Imatrix sum = small(), other = small();
  other.entries["a.weight"].counts = {kMost - 19};
  EXPECT_THROW(sum.merge(other), Error);
  expect_equal(sum, small());
  other = small();
  other.chunk_count = other.chunk_size = std::numeric_limits<int32_t>::max();
  EXPECT_THROW(sum.merge(other), Error);
  expect_equal(sum, small());
}

}  // namespace
}  // namespace steelyard::imatrix
