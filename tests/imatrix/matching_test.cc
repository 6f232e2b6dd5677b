// Importance that matrices share because they read one input, and entries that belong to no tensor.
#include "imatrix/matching.h"

#include <gtest/gtest.h>

#include "imatrix/selection.h"
#include "support.h"

namespace steelyard::imatrix {
namespace {

using Strings = std::vector<std::string>;

gguf::TensorInfo tensor(const std::string& name, int64_t n_in, int64_t n_expert = 1) {
  gguf::TensorInfo info;
  info.name = name;
  info.n_dims = n_expert > 1 ? 3 : 2;
  info.ne = {n_in, 5, n_expert, 1};
  return info;
}

ImatrixEntry entry(std::vector<double> sums, std::vector<int64_t> counts) {
  const auto n_expert = std::ssize(counts);
  return {.n_in = std::ssize(sums) / n_expert,
          .n_expert = n_expert,
          .in_sum2 = std::move(sums),
          .counts = std::move(counts)};
}

// The entry that `wanted` takes from a file that has `given`, and nothing else; empty: none.
std::string source_of(const std::string& wanted, const Strings& given, int64_t n_expert = 1) {
  Imatrix imatrix;
  for (const std::string& name : given) {
    imatrix.entries[name] = entry(std::vector<double>(static_cast<size_t>(2 * n_expert), 3.0),
                                  std::vector<int64_t>(static_cast<size_t>(n_expert), 4));
  }
  const gguf::TensorInfo info = tensor(wanted, 2, n_expert);
  match(imatrix, std::span(&info, 1));
  const ImatrixEntry* const found = imatrix.find(info);
  return found != nullptr ? found->shared_from : "";
}

TEST(Matching, MatricesWithOneInputShareAnEntry) {
  const std::vector<std::pair<std::string, Strings>> groups = {
      {"", {"ffn_gate", "ffn_up", "ffn_gate_up"}},
      {"", {"attn_q", "attn_k", "attn_v", "attn_qkv"}},
      {"", {"ffn_gate_shexp", "ffn_up_shexp", "ffn_gate_up_shexp"}},
      {"experts", {"ffn_gate_exps", "ffn_up_exps", "ffn_gate_up_exps"}},
      {"", {"attn_qkv", "attn_gate", "ssm_ba"}},
      {"", {"attn_q", "ssm_f_a", "ssm_g_a", "ssm_g", "ssm_beta"}},
      {"", {"ffn_up_shexp", "ffn_latent_down", "ffn_routed_down"}},
      {"", {"attn_q_a", "attn_kv_a_mqa"}}};
  for (const auto& [kind, names] : groups) {
    for (const std::string& wanted : names) {
      for (const std::string& given : names) {
        if (wanted == given) continue;
        const std::string from = "blk.7." + given + ".weight";
        EXPECT_EQ(source_of("blk.7." + wanted + ".weight", {from}, kind.empty() ? 1 : 3), from) << wanted;
        EXPECT_EQ(source_of("blk.8." + wanted + ".weight", {from}, kind.empty() ? 1 : 3), "") << "another layer";
      }
    }
  }
}

TEST(Matching, OthersShareNothing) {
  EXPECT_EQ(source_of("blk.0.ffn_down.weight", {"blk.0.ffn_up.weight"}), "");
  EXPECT_EQ(source_of("blk.0.attn_output.weight", {"blk.0.attn_q.weight"}), "");
  EXPECT_EQ(source_of("blk.0.ffn_up_shexp.weight", {"blk.0.ffn_up_exps.weight"}), "");
  EXPECT_EQ(source_of("output.weight", {"token_embd.weight"}), "");
  EXPECT_EQ(source_of("blk.0.ffn_gate.bias", {"blk.0.ffn_up.weight"}), "");
}

TEST(Matching, TheEntryMustFitAndHaveSeenInput) {
  Imatrix imatrix;
  imatrix.entries["ffn_up.weight"] = entry({1, 2}, {4});
  imatrix.entries["blk.0.ffn_up.weight"] = entry({1, 2, 3}, {4});
  imatrix.entries["blk.1.ffn_up.weight"] = entry({0, 0}, {0});
  imatrix.entries["blk.2.ffn_up.weight"] = entry({1, 2}, {4});
  imatrix.entries["blk.2.ffn_gate.weight"] = entry({0, 0}, {0});
  const std::vector<gguf::TensorInfo> tensors = {tensor("blk.0.ffn_gate.weight", 2), tensor("blk.1.ffn_gate.weight", 2),
                                                 tensor("blk.2.ffn_gate.weight", 2)};
  match(imatrix, tensors);
  EXPECT_EQ(imatrix.find(tensors[0]), nullptr);
  EXPECT_EQ(imatrix.find(tensors[1]), nullptr);
  EXPECT_EQ(imatrix.find(tensors[2])->shared_from, "blk.2.ffn_up.weight") << "its own saw no input";
  EXPECT_EQ(imatrix.importance(tensors[2], 0), (std::vector<float>{0.25f, 0.5f}));
}

// Where queries and keys read something else, their entries differ.
TEST(Matching, EntriesThatDifferAreNotShared) {
  Imatrix imatrix;
  imatrix.entries["blk.0.attn_q.weight"] = entry({1, 2}, {4});
  imatrix.entries["blk.0.attn_k.weight"] = entry({1, 2.001}, {4});
  const gguf::TensorInfo qkv = tensor("blk.0.attn_qkv.weight", 2);
  Imatrix same = imatrix;
  match(same, std::span(&qkv, 1));
  EXPECT_EQ(same.find(qkv)->shared_from, "blk.0.attn_q.weight") << "rounding makes no other input";
  imatrix.entries["blk.0.attn_v.weight"] = entry({2, 2}, {4});
  match(imatrix, std::span(&qkv, 1));
  EXPECT_EQ(imatrix.find(qkv), nullptr);
}

TEST(Matching, EntriesOfNoTensorAreStrangers) {
  Imatrix imatrix;
  for (const char* name :
       {"blk.0.attn_q.weight", "blk.0.ffn_gate.weight", "blk.0.ffn_up.weight", "blk.9.attn_q.weight"})
    imatrix.entries[name] = entry({1, 2}, {4});
  const std::vector<gguf::TensorInfo> tensors = {tensor("blk.0.attn_q.weight", 2),
                                                 tensor("blk.0.ffn_gate_up.weight", 2)};
  match(imatrix, tensors);
  EXPECT_EQ(imatrix.strangers, Strings{"blk.9.attn_q.weight"});
}

// What a user takes out does not come back from another entry.
TEST(Matching, SelectionCountsByTheNameOfTheTensor) {
  Imatrix imatrix;
  imatrix.entries["blk.0.ffn_up.weight"] = entry({1, 2}, {4});
  const std::vector<gguf::TensorInfo> tensors = {tensor("blk.0.ffn_up.weight", 2), tensor("blk.0.ffn_gate.weight", 2)};
  match(imatrix, tensors);
  ASSERT_NE(imatrix.find(tensors[1]), nullptr);
  const Strings excluded = {"ffn_gate"};
  select_entries(imatrix, {}, excluded);
  EXPECT_EQ(imatrix.find(tensors[1]), nullptr);
  EXPECT_NE(imatrix.find(tensors[0]), nullptr);
}

}  // namespace
}  // namespace steelyard::imatrix
