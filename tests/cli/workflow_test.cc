// The way from a model to a smaller one, step by step as a user goes it, on small models with known figures.
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "gguf/reader.h"
#include "support.h"

namespace steelyard::test {
namespace {

class Workflow : public testing::Test {
 protected:
  // Runs a command that must succeed quietly; returns its stdout.
  static std::string succeed(const std::vector<std::string>& arguments) {
    const CommandResult result = run(arguments);
    EXPECT_EQ(result.exit_code, 0) << arguments[0] << ": " << result.err;
    EXPECT_TRUE(arguments[0] == "run" || result.err.empty()) << arguments[0] << ": " << result.err;
    return result.out;
  }
  static nlohmann::json succeed_json(const std::vector<std::string>& arguments) {
    return nlohmann::json::parse(succeed(arguments));
  }
  std::string file(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  // The type of a tensor of a quantized file.
  static std::string type_of(const std::string& path, const std::string& name) {
    const gguf::Reader reader(path);
    const gguf::TensorInfo* tensor = reader.find(name);
    return tensor == nullptr ? "absent" : std::string(format(tensor->type).name);
  }

  const TempFolder folder_;
  const std::string out_ = folder_ / "out.gguf";
  const std::string llama_ = golden("models/llama/model.gguf");
  const std::string deepseek_ = golden("models/deepseek2/model.gguf");
  const std::string wide_ = golden("imatrix/deepseek2_k256/model.gguf");
  const std::string wide_imatrix_ = golden("imatrix/deepseek2_k256/imatrix_with_output.gguf");
  const std::string text_ = golden("imatrix/text.txt");
};

TEST_F(Workflow, Help) {
  EXPECT_NE(succeed({"--help"}).find("quantize"), std::string::npos);
  EXPECT_NE(succeed({"quantize", "--help"}).find("--allow-requantize"), std::string::npos);
  EXPECT_TRUE(succeed({"--version"}).starts_with("steelyard "));
}

TEST_F(Workflow, InspectAModel) {
  const std::string text = succeed({"inspect", llama_});
  EXPECT_NE(text.find("GGUF v3, 1 shard, alignment 32\n"), std::string::npos);
  EXPECT_NE(text.find("30 tensors, 164288 elements, 657152 bytes, 32.0000 bits per weight\n"), std::string::npos);

  const auto json = succeed_json({"inspect", "--json", llama_});
  EXPECT_EQ(json["version"], 3);
  EXPECT_EQ(json["total_bytes"], 657152);
  EXPECT_EQ(json["bits_per_weight"], 32.0);
  EXPECT_EQ(json["metadata"]["general.architecture"], "llama");
  EXPECT_EQ(json["metadata"]["llama.embedding_length"], 64);
  ASSERT_EQ(json["tensors"].size(), 30u);
  EXPECT_EQ(json["tensors"][2]["name"], "output.weight");
  EXPECT_EQ(json["tensors"][2]["shape"], nlohmann::json({64, 272}));
  EXPECT_EQ(json["tensors"][2]["type"], "F32");
  EXPECT_EQ(json["tensors"][2]["bytes"], 69632);
}

TEST_F(Workflow, InspectAnImatrix) {
  for (const char* name : {"imatrix.gguf", "imatrix.dat"}) {
    const std::string path = golden("imatrix/deepseek2/") + name;
    EXPECT_NE(succeed({"inspect", path}).find("importance matrix: "), std::string::npos);
    const auto json = succeed_json({"inspect", "--json", path});
    EXPECT_EQ(json["chunk_count"], 8);
    EXPECT_GT(json["entries"].size(), 20u);
    EXPECT_GT(json["entries"][0]["mean"], 0.0);
  }
}

TEST_F(Workflow, Plan) {
  const std::string plan = file("a.plan", "ffn_.*_exps = Q4_K\nattn = Q6_K\n* = Q8_0\n");
  const auto json = succeed_json({"plan", wide_, "--plan", plan, "--json"});
  ASSERT_EQ(json.size(), 4u);
  uint64_t total = 0, n_elements = 0;
  for (const auto& tensor : json["tensors"]) {
    ASSERT_EQ(tensor.size(), 5u);
    EXPECT_TRUE(tensor["name"].is_string() && tensor["type"].is_string() && tensor["rule"].is_string());
    uint64_t n = 1;
    for (const auto& length : tensor["shape"]) n *= length.get<uint64_t>();
    n_elements += n;
    total += tensor["bytes"].get<uint64_t>();
  }
  EXPECT_EQ(json["total_bytes"], total);
  EXPECT_DOUBLE_EQ(json["bits_per_weight"], 8.0 * static_cast<double>(total) / static_cast<double>(n_elements));

  const std::string text = succeed({"plan", wide_, "--plan", plan});
  EXPECT_NE(text.find("bits per weight"), std::string::npos);
}

// What a plan promises is what quantize writes.
TEST_F(Workflow, QuantizeByPlan) {
  const std::string plan = file("a.plan", "ffn_(gate|up)_exps = IQ2_S\nffn_down_exps = Q4_K\nattn = Q6_K\n* = Q8_0\n");
  const std::vector<std::string> with = {"--plan", plan, "--imatrix", wide_imatrix_};
  std::vector<std::string> plan_command = {"plan", wide_, "--json"}, quantize = {"quantize", wide_, out_};
  plan_command.insert(plan_command.end(), with.begin(), with.end());
  quantize.insert(quantize.end(), with.begin(), with.end());
  const auto json = succeed_json(plan_command);
  succeed(quantize);
  const gguf::Reader reader(out_);
  EXPECT_EQ(json["total_bytes"], reader.total_bytes());
  ASSERT_EQ(json["tensors"].size(), reader.tensors().size());
  for (size_t i = 0; i < reader.tensors().size(); ++i) {
    EXPECT_EQ(json["tensors"][i]["name"], reader.tensors()[i].name);
    EXPECT_EQ(json["tensors"][i]["type"], format(reader.tensors()[i].type).name);
  }
  EXPECT_EQ(type_of(out_, "blk.1.ffn_up_exps.weight"), "IQ2_S");
  EXPECT_EQ(type_of(out_, "blk.1.attn_norm.weight"), "F32");
  EXPECT_EQ(reader.metadata().integer("quantize.imatrix.chunks_count"), 8);
}

TEST_F(Workflow, QuantizeByTypeAndFlags) {
  succeed({"quantize", wide_, out_, "Q8_0"});
  EXPECT_EQ(type_of(out_, "output.weight"), "Q8_0");
  succeed({"quantize", wide_, out_, "q8_0", "--token-embedding-type", "BF16", "--output-tensor-type", "q6_k",
           "--tensor-type", "ffn_up_exps=Q4_K", "--tensor-type", "blk\\.1\\.attn_output=F16"});
  EXPECT_EQ(type_of(out_, "token_embd.weight"), "BF16");
  EXPECT_EQ(type_of(out_, "output.weight"), "Q6_K");
  EXPECT_EQ(type_of(out_, "blk.1.ffn_up_exps.weight"), "Q4_K");
  EXPECT_EQ(type_of(out_, "blk.1.attn_output.weight"), "F16");
  EXPECT_EQ(type_of(out_, "blk.0.ffn_down.weight"), "Q8_0");
}

TEST_F(Workflow, QuantizeByPreset) {
  succeed({"quantize", wide_, out_, "--preset", "q8_0"});
  EXPECT_EQ(type_of(out_, "blk.1.ffn_up_exps.weight"), "Q8_0");
  succeed({"quantize", wide_, out_, "BF16"});
  EXPECT_EQ(type_of(out_, "blk.1.ffn_up_exps.weight"), "BF16");
}

TEST_F(Workflow, DryRunWritesNothing) {
  const std::string text = succeed({"quantize", wide_, out_, "Q8_0", "--dry-run"});
  EXPECT_NE(text.find("bits per weight"), std::string::npos);
  succeed({"quantize", wide_, "--preset", "Q8_0", "--dry-run"});
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / ""));
}

TEST_F(Workflow, QuantizeAgain) {
  const std::string quantized = golden("imatrix/deepseek2_k256/model_Q8_0.gguf");
  succeed({"quantize", quantized, out_, "Q4_K", "--allow-requantize"});
  EXPECT_EQ(type_of(out_, "output.weight"), "Q4_K");
  // To F32 nothing is quantized again.
  succeed({"quantize", quantized, out_, "F32"});
  EXPECT_EQ(type_of(out_, "output.weight"), "F32");
}

TEST_F(Workflow, CopiesWhatHasItsTypeAlready) {
  succeed({"quantize", llama_, out_, "F32"});
  const gguf::Reader before(llama_), after(out_);
  for (const gguf::TensorInfo& tensor : before.tensors()) {
    const auto expected = before.bytes(tensor), found = after.bytes(*after.find(tensor.name));
    EXPECT_TRUE(std::ranges::equal(expected, found)) << tensor.name;
  }
}

TEST_F(Workflow, AnOlderOutputIsReplaced) {
  file("out.gguf", "old");
  succeed({"quantize", llama_, out_, "Q8_0"});
  EXPECT_EQ(read_text(out_).substr(0, 4), "GGUF");
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "")) EXPECT_EQ(entry.path(), out_);
}

TEST_F(Workflow, ThreadsDoNotChangeTheBytes) {
  const std::string plan = file("a.plan", "ffn_up_exps = IQ2_S\nffn_down_exps = Q4_K\nattn = Q6_K\n* = Q8_0\n");
  std::string first;
  for (const char* threads : {"1", "2", "7"}) {
    succeed({"quantize", wide_, out_, "--plan", plan, "--imatrix", wide_imatrix_, "-t", threads});
    const std::string bytes = read_text(out_);
    if (first.empty()) first = bytes;
    EXPECT_TRUE(bytes == first) << threads << " threads";
  }
}

TEST_F(Workflow, ImatrixOfAText) {
  const std::vector<std::string> collect = {"imatrix", "-m", deepseek_, "-f", text_, "-c", "64", "--chunks", "8"};
  auto to_gguf = collect, to_dat = collect;
  to_gguf.insert(to_gguf.end(), {"-o", folder_ / "a.gguf"});
  to_dat.insert(to_dat.end(), {"-o", folder_ / "a.dat", "--process-output"});
  succeed(to_gguf);
  succeed(to_dat);
  // The means of the reference, entry by entry, within F32 rounding of the sums.
  const auto expected = succeed_json({"inspect", "--json", golden("imatrix/deepseek2/imatrix.gguf")});
  const auto found = succeed_json({"inspect", "--json", folder_ / "a.gguf"});
  ASSERT_EQ(found["entries"].size(), expected["entries"].size());
  for (size_t i = 0; i < expected["entries"].size(); ++i) {
    const auto &entry = found["entries"][i], &reference = expected["entries"][i];
    EXPECT_EQ(entry["name"], reference["name"]);
    EXPECT_EQ(entry["inputs"], reference["inputs"]);
    EXPECT_NEAR(entry["mean"].get<double>() / reference["mean"].get<double>(), 1.0, 1e-5) << entry["name"];
  }
  const auto with_output = succeed_json({"inspect", "--json", folder_ / "a.dat"});
  EXPECT_EQ(with_output["entries"].size(), expected["entries"].size() + 1);
}

TEST_F(Workflow, ImatrixConversionAndMerging) {
  const std::string original = golden("imatrix/deepseek2/imatrix.gguf");
  succeed({"imatrix", "--in-file", original, "-o", folder_ / "a.dat"});
  succeed({"imatrix", "--in-file", folder_ / "a.dat", "-o", folder_ / "b.gguf"});
  succeed({"imatrix", "--in-file", folder_ / "b.gguf", "-o", folder_ / "b.dat"});
  EXPECT_TRUE(read_text(folder_ / "a.dat") == read_text(folder_ / "b.dat"));
  succeed({"imatrix", "--in-file", original + "," + original, "-o", folder_ / "twice.gguf"});
  const auto once = succeed_json({"inspect", "--json", original});
  const auto twice = succeed_json({"inspect", "--json", folder_ / "twice.gguf"});
  EXPECT_EQ(twice["chunk_count"], 2 * once["chunk_count"].get<int>());
  for (size_t i = 0; i < once["entries"].size(); ++i) {
    EXPECT_EQ(twice["entries"][i]["inputs"], 2 * once["entries"][i]["inputs"].get<int64_t>());
    EXPECT_NEAR(twice["entries"][i]["mean"].get<double>(), once["entries"][i]["mean"].get<double>(), 1e-6);
  }
}

// The figure of llama-perplexity (tests/golden/imatrix/deepseek2/ppl_f32.txt).
TEST_F(Workflow, Perplexity) {
  const std::string text = succeed(
      {"perplexity", "-m", deepseek_, "-f", text_, "-c", "64", "--chunks", "16", "--json", folder_ / "report.json"});
  EXPECT_NE(text.find("Final estimate: PPL = 5845.22"), std::string::npos) << text;
  const auto report = nlohmann::json::parse(read_text(folder_ / "report.json"));
  EXPECT_NEAR(report["perplexity"].get<double>() / 5845.2236, 1.0, 1e-6);
  EXPECT_EQ(report["n_chunks"], 16);
  EXPECT_EQ(report["n_scored"], 16 * 31);
  ASSERT_EQ(report["running"].size(), 16u);
  EXPECT_NEAR(report["running"][0].get<double>() / 18864.6403, 1.0, 1e-6);
}

TEST_F(Workflow, DivergenceFromABase) {
  const std::vector<std::string> common = {"-f", text_, "-c", "64", "--chunks", "16", "--kl-divergence-base"};
  auto write = std::vector<std::string>{"perplexity", "-m", deepseek_};
  write.insert(write.end(), common.begin(), common.end());
  write.push_back(folder_ / "base.bin");
  succeed(write);
  EXPECT_EQ(read_text(folder_ / "base.bin").substr(0, 8), "STEELKLD");
  write.back() = folder_ / "llama.bin";
  write.insert(write.end(), {"--kl-divergence-base-format", "llama"});
  succeed(write);
  EXPECT_EQ(read_text(folder_ / "llama.bin").substr(0, 8), "_logits_");

  const auto divergence = [&](const std::string& model, const std::string& base) {
    std::vector<std::string> read = {"perplexity", "-m", model, "--json", folder_ / "report.json", "--kl-divergence"};
    read.insert(read.end(), common.begin(), common.end());
    read.push_back(base);
    EXPECT_NE(succeed(read).find("Mean KLD: "), std::string::npos);
    return nlohmann::json::parse(read_text(folder_ / "report.json"));
  };
  // Of a model from itself only the storage of the base remains.
  for (const char* base : {"base.bin", "llama.bin"}) {
    const auto same = divergence(deepseek_, folder_ / base);
    // 16-bit codes round by up to 1.2e-4 a token; over 496 tokens their mean has a standard error of 5e-7.
    EXPECT_LT(std::abs(same["mean_kld"].get<double>()), std::string(base) == "base.bin" ? 1e-8 : 1e-6) << base;
    EXPECT_EQ(same["same_top"], 1.0);
    EXPECT_EQ(same.contains("router_agreement"), std::string(base) == "base.bin");
  }
  // Another writer's base gives the same figures as ours for a quantized model.
  const std::string quantized = golden("imatrix/deepseek2/model_Q4_0.gguf");
  const double ours = divergence(quantized, folder_ / "llama.bin")["mean_kld"];
  const double theirs = divergence(quantized, golden("imatrix/deepseek2/kld_base_f32.bin"))["mean_kld"];
  EXPECT_GT(ours, 1e-3);
  EXPECT_NEAR(ours, theirs, 2e-6);
}

TEST_F(Workflow, LogitsOfASequence) {
  const auto sequences = nlohmann::json::parse(read_text(golden("models/deepseek2/tokens.json")));
  const auto& ids = sequences.is_object() ? sequences.at("sequences").at(0) : sequences.at(0);
  for (const char* backend : {"cpu", "ref"}) {
    succeed({"perplexity", "-m", deepseek_, "--tokens", file("ids.json", ids.dump()), "--dump-logits",
             folder_ / "logits", "--json", folder_ / "report.json", "--backend", backend});
    const auto found = read_values<float>(folder_ / "logits");
    const auto expected = read_values<float>(golden("models/deepseek2/logits_0.f32"));
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], 5e-4) << backend << " " << i;
    EXPECT_EQ(nlohmann::json::parse(read_text(folder_ / "report.json"))["n_tokens"], 48);
  }
}

}  // namespace
}  // namespace steelyard::test
