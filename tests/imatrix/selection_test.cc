// Entries by name: what filters keep and drop, and what renaming carries over.
#include "imatrix/selection.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "error_of.h"

namespace steelyard::imatrix {
namespace {

using testing::HasSubstr;

Imatrix named(const std::vector<std::string>& names) {
  Imatrix imatrix;
  imatrix.source = "x.gguf";
  for (const std::string& name : names) {
    const auto n = static_cast<double>(imatrix.entries.size() + 1);  // tells the entries apart
    imatrix.entries[name] = {.n_in = 1, .n_expert = 1, .in_sum2 = {n}, .counts = {1}};
  }
  return imatrix;
}

const std::vector<std::string> kNames = {"blk.0.attn_k.weight", "blk.0.ffn_up.weight", "blk.1.attn_k.weight",
                                         "output.weight"};

std::vector<std::string> selected(const std::vector<std::string>& include, const std::vector<std::string>& exclude) {
  Imatrix imatrix = named(kNames);
  select_entries(imatrix, include, exclude);
  std::vector<std::string> names;
  for (const auto& [name, entry] : imatrix.entries) names.push_back(name);
  return names;
}

std::string error_of(const std::vector<std::string>& include, const std::vector<std::string>& exclude) {
  return test::error_of([&] { selected(include, exclude); });
}

TEST(SelectEntries, KeepsWhatIsIncludedAndNotExcluded) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(selected({}, {}), kNames);
  EXPECT_EQ(selected({"attn_k"}, {}), (Names{"blk.0.attn_k.weight", "blk.1.attn_k.weight"}));
  EXPECT_EQ(selected({"output", "ffn"}, {}), (Names{"blk.0.ffn_up.weight", "output.weight"}));
  EXPECT_EQ(selected({}, {"attn_k"}), (Names{"blk.0.ffn_up.weight", "output.weight"}));
  EXPECT_EQ(selected({"blk.0"}, {"ffn"}), (Names{"blk.0.attn_k.weight"}));
}

TEST(SelectEntries, NothingIsIgnoredInSilence) {
  EXPECT_THAT(error_of({"attn_q"}, {}), HasSubstr("x.gguf: --include-weights attn_q: no entry's name contains it"));
  EXPECT_THAT(error_of({}, {"attn_k", "attn_q"}), HasSubstr("--exclude-weights attn_q"));
  EXPECT_THAT(error_of({""}, {}), HasSubstr("is empty"));
  EXPECT_THAT(error_of({"output"}, {"weight"}), HasSubstr("leave no entry"));
}

TEST(RenameEntries, CarriesDataAndDropsTheRest) {
  Imatrix imatrix = named(kNames);
  const std::vector<EntryName> names = {{"blk.1.attn_k.weight", "blk.0.attn_k.weight"},
                                        {"output.weight", "output.weight"},
                                        {"token_embd.weight", "token_embd.weight"}};
  rename_entries(imatrix, names);
  ASSERT_EQ(imatrix.entries.size(), 2u);
  EXPECT_EQ(imatrix.entries.at("blk.0.attn_k.weight").in_sum2[0], 3);
  EXPECT_EQ(imatrix.entries.at("output.weight").in_sum2[0], 4);
}

}  // namespace
}  // namespace steelyard::imatrix
