// A model changed on its way through quantize, and two files side by side in inspect.
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "gguf/reader.h"
#include "support.h"

namespace steelyard::test {
namespace {

class Edits : public testing::Test {
 protected:
  static std::string succeed(const std::vector<std::string>& arguments) {
    const CommandResult result = run(arguments);
    EXPECT_EQ(result.exit_code, 0) << arguments[0] << ": " << result.err;
    return result.out;
  }
  static nlohmann::json diff(const std::string& a, const std::string& b) {
    return nlohmann::json::parse(succeed({"inspect", "--diff", a, b, "--json"}), nullptr, /*allow_exceptions=*/false);
  }
  static std::string failure(const std::vector<std::string>& arguments) {
    const CommandResult result = run(arguments);
    EXPECT_NE(result.exit_code, 0);
    EXPECT_TRUE(is_one_line(result.err)) << result.err;
    return result.err;
  }

  const TempFolder folder_;
  const std::string model_ = std::string(STEELYARD_SOURCE_DIR) + "/tests/models/glm-flash-tiny-bf16.gguf";
  const std::string text_ = std::string(STEELYARD_SOURCE_DIR) + "/tests/text/heldout.txt";
  const std::string out_ = folder_ / "out.gguf";
};

TEST_F(Edits, APrunedModelRuns) {
  succeed({"imatrix", "-m", model_, "-f", text_, "-c", "64", "--chunks", "2", "-o", folder_ / "imatrix.gguf"});
  succeed({"quantize", model_, out_, "Q4_K", "--imatrix", folder_ / "imatrix.gguf", "--prune-layers", "2",
           "--override-kv", "general.name=str:shorter"});
  const gguf::Reader source(model_), pruned(out_);
  EXPECT_EQ(pruned.metadata().integer("deepseek2.block_count"), 3);
  EXPECT_EQ(pruned.metadata().string("general.name"), "shorter");
  EXPECT_EQ(pruned.find("blk.3.attn_q_a.weight"), nullptr);
  // Block 3 has become block 2, with its own weights.
  const std::span<const std::byte> norm = pruned.bytes(*pruned.find("blk.2.attn_norm.weight"));
  EXPECT_TRUE(std::ranges::equal(norm, source.bytes(*source.find("blk.3.attn_norm.weight"))));
  EXPECT_NE(succeed({"perplexity", "-m", out_, "-f", text_, "-c", "64", "--chunks", "2"}).find("Final estimate"),
            std::string::npos);
}

// The importance of an expert goes with its tensor, not with the number that another block gets.
TEST_F(Edits, ImportanceFollowsItsTensors) {
  succeed({"imatrix", "-m", model_, "-f", text_, "-c", "64", "--chunks", "2", "-o", folder_ / "imatrix.gguf"});
  const std::vector<std::string> rest = {"Q4_K", "--imatrix", folder_ / "imatrix.gguf"};
  std::vector<std::string> whole = {"quantize", model_, folder_ / "whole.gguf"}, pruned = {"quantize", model_, out_};
  whole.insert(whole.end(), rest.begin(), rest.end());
  pruned.insert(pruned.end(), rest.begin(), rest.end());
  pruned.insert(pruned.end(), {"--prune-layers", "1-2"});
  succeed(whole);
  succeed(pruned);
  const gguf::Reader a(folder_ / "whole.gguf"), b(out_);
  for (const std::string name : {"attn_q_a.weight", "ffn_up_exps.weight"}) {
    EXPECT_TRUE(std::ranges::equal(a.bytes(*a.find("blk.3." + name)), b.bytes(*b.find("blk.1." + name)))) << name;
  }
}

TEST_F(Edits, MistakesAreNamed) {
  EXPECT_NE(failure({"quantize", model_, out_, "Q8_0", "--prune-layers", "4"}).find("there is no block 4"),
            std::string::npos);
  EXPECT_NE(
      failure({"quantize", model_, out_, "Q8_0", "--override-kv", "deepseek2.block_count=str:x"}).find("has u32 there"),
      std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(out_));
}

TEST_F(Edits, DiffShowsWhatQuantizingDid) {
  succeed({"quantize", model_, out_, "Q8_0", "--override-kv", "general.name=str:other"});
  const auto json = diff(model_, out_);
  EXPECT_EQ(json["a"]["tensors"], json["b"]["tensors"]);
  bool is_named = false;
  for (const auto& row : json["metadata"]) is_named |= row["key"] == "general.name" && row["b"] == "string \"other\"";
  EXPECT_TRUE(is_named) << json["metadata"].dump();
  const auto& total = json["total"];
  EXPECT_GT(total["relative_rmse"].get<double>(), 0.001);
  EXPECT_LT(total["relative_rmse"].get<double>(), 0.01);
  EXPECT_GT(total["cosine"].get<double>(), 0.9999);
  for (const auto& row : json["tensors"]) {
    EXPECT_EQ(row["same_bytes"].get<bool>(), row["a"]["type"] == row["b"]["type"]) << row.dump();
  }
  EXPECT_EQ(diff(model_, model_)["total"]["relative_rmse"], 0.0);
  EXPECT_NE(succeed({"inspect", "--diff", model_, out_}).find("all tensors in both files"), std::string::npos);
}

TEST_F(Edits, DiffNeedsTwoGoodFiles) {
  EXPECT_NE(failure({"inspect", "--diff", model_}).find("two files"), std::string::npos);
  EXPECT_NE(failure({"inspect", "--diff", model_, text_}).find("expected 'GGUF'"), std::string::npos);
  EXPECT_NE(failure({"inspect", model_, model_}).find("--diff compares two"), std::string::npos);
}

TEST_F(Edits, InspectTellsHowAFileWasMadeAndChecksIt) {
  succeed({"quantize", model_, out_, "Q8_0", "--prior-weight", "7"});
  const std::string text = succeed({"inspect", out_});
  EXPECT_NE(text.find("provenance"), std::string::npos);
  EXPECT_NE(text.find("prior_weight           7.0\n"), std::string::npos) << text;
  EXPECT_NE(succeed({"inspect", "--verify", out_}).find("all 70 tensors"), std::string::npos);
  // One bit within the last tensor.
  std::string bytes = read_text(out_);
  bytes[bytes.size() - 40] ^= 1;
  std::ofstream(folder_ / "bad.gguf", std::ios::binary) << bytes;
  EXPECT_NE(failure({"inspect", "--verify", folder_ / "bad.gguf"}).find("bad.gguf"), std::string::npos);
  EXPECT_NE(failure({"inspect", "--verify", model_}).find("has no checksums"), std::string::npos);
}

}  // namespace
}  // namespace steelyard::test
