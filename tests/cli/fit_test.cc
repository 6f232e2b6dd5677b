// steelyard fit: figures of real models from their headers alone, layouts over devices, and what it refuses.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "gguf/layout.h"
#include "model_copy.h"
#include "plan/models.h"
#include "support.h"

namespace steelyard::test {
namespace {

constexpr double kMiB = 1 << 20;

using Json = nlohmann::json;

Json fit(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "fit");
  arguments.push_back("--json");
  const CommandResult result = run(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result.exit_code == 0 ? Json::parse(result.out) : Json();
}

uint64_t sum(const Json& report, const char* what) {
  uint64_t total = report["host"][what].get<uint64_t>();
  for (const Json& device : report["devices"]) total += device[what].get<uint64_t>();
  return total;
}

// The header of a real model: shapes from tests/golden/plan, metadata from its published files, empty tokens.
class Fit : public testing::Test {
 protected:
  std::string header(const std::string& model, const gguf::Metadata& metadata) const {
    const gguf::Layout layout = gguf::lay_out(model, metadata, plan::read_model(model).tensors);
    std::ofstream(folder_ / model, std::ios::binary) << layout.header;
    return folder_ / model;
  }

  std::string flash() const {
    gguf::Metadata metadata = common("deepseek2", 47, 2048, 10240, 20, 154880);
    for (const auto& [key, value] : std::vector<std::pair<std::string, uint32_t>>{{"attention.head_count_kv", 1},
                                                                                  {"attention.q_lora_rank", 768},
                                                                                  {"attention.kv_lora_rank", 512},
                                                                                  {"attention.key_length", 576},
                                                                                  {"attention.value_length", 512},
                                                                                  {"attention.key_length_mla", 256},
                                                                                  {"attention.value_length_mla", 256},
                                                                                  {"expert_count", 64},
                                                                                  {"expert_used_count", 4},
                                                                                  {"leading_dense_block_count", 1}}) {
      metadata.set_integer("deepseek2." + key, value);
    }
    return header("glm-4.7-flash", metadata);
  }

  std::string glm() const {
    gguf::Metadata metadata = common("glm4moe", 93, 5120, 12288, 96, 151552);
    for (const auto& [key, value] : std::vector<std::pair<std::string, uint32_t>>{{"attention.head_count_kv", 8},
                                                                                  {"attention.key_length", 128},
                                                                                  {"attention.value_length", 128},
                                                                                  {"expert_count", 160},
                                                                                  {"expert_used_count", 8},
                                                                                  {"leading_dense_block_count", 3},
                                                                                  {"nextn_predict_layers", 1}}) {
      metadata.set_integer("glm4moe." + key, value);
    }
    return header("glm-4.7", metadata);
  }

  const TempFolder folder_;

 private:
  static gguf::Metadata common(const std::string& architecture, uint32_t n_layers, uint32_t n_embd, uint32_t n_ff,
                               uint32_t n_head, size_t n_vocab) {
    gguf::Metadata metadata;
    metadata.set_string("general.architecture", architecture);
    for (const auto& [key, value] : std::vector<std::pair<std::string, uint32_t>>{{"block_count", n_layers},
                                                                                  {"context_length", 202752},
                                                                                  {"embedding_length", n_embd},
                                                                                  {"feed_forward_length", n_ff},
                                                                                  {"attention.head_count", n_head},
                                                                                  {"rope.dimension_count", 64},
                                                                                  {"expert_feed_forward_length", 1536},
                                                                                  {"expert_shared_count", 1},
                                                                                  {"expert_gating_func", 2}}) {
      metadata.set_integer(architecture + "." + key, value);
    }
    metadata.set_real(architecture + ".attention.layer_norm_rms_epsilon", 1e-5f);
    metadata.set_strings("tokenizer.ggml.tokens", std::vector<std::string>(n_vocab));
    return metadata;
  }
};

// llama.cpp's own figures for these files.
TEST_F(Fit, CachesOfRealModels) {
  const std::string flash = this->flash(), glm = this->glm();
  struct Case {
    const std::string& model;
    const char *context, *type;
    double mib;
  };
  for (const Case& c : {Case{flash, "16384", "f16", 846}, Case{flash, "32768", "f16", 1692},
                        Case{glm, "131072", "q8_0", 25024}, Case{glm, "202752", "q4_0", 20493}}) {
    const Json report = fit({c.model, "--vram",
                             "24GiB\xC3\x97"
                             "6",
                             "-c", c.context, "-ctk", c.type, "-ctv", c.type});
    EXPECT_NEAR(static_cast<double>(sum(report, "cache")) / kMiB, c.mib, 0.5) << c.model << " at " << c.context;
    EXPECT_EQ(report["devices"].size(), 6u);
    EXPECT_EQ(report["devices"][0]["free"], (uint64_t{24} << 30) - (uint64_t{512} << 20));
  }
}

// The block that predicts further tokens is in the file and not in memory.
TEST_F(Fit, PredictionIsCountedApart) {
  const Json report = fit({"-m", glm(), "--vram", "1TiB"});
  EXPECT_EQ(report["prediction"], 11081643648u);
  EXPECT_NEAR(static_cast<double>(sum(report, "weights")) / kMiB, 673051, 1);
  EXPECT_EQ(report["fits"], true);
  EXPECT_EQ(report["largest_context"], 202752);
  const CommandResult result = run({"fit", glm(), "--vram", "1TiB"});
  EXPECT_NE(result.out.find("10568.3 MiB in blocks that predict"), std::string::npos) << result.out;
}

TEST_F(Fit, LargestContext) {
  const std::string model = flash();
  const std::vector<std::string> devices = {model, "--vram", "12GiBx6", "-ctk", "f16", "-ctv", "f16"};
  const Json report = fit(devices);
  const int64_t largest = report["largest_context"].get<int64_t>();
  ASSERT_GT(largest, 0);
  ASSERT_LT(largest, 202752);
  EXPECT_EQ(report["context"], largest);
  EXPECT_EQ(report["fits"], true);
  for (const int64_t context : {largest, largest + 1}) {
    std::vector<std::string> arguments = devices;
    arguments.insert(arguments.end(), {"-c", std::to_string(context)});
    const Json at = fit(arguments);
    EXPECT_EQ(at["fits"], context == largest);
    EXPECT_EQ(at["largest_context"], largest);
    bool each = true;
    for (const Json& device : at["devices"]) each &= device["needed"].get<uint64_t>() <= device["free"].get<uint64_t>();
    EXPECT_EQ(each, context == largest);
  }
}

TEST_F(Fit, Layouts) {
  const std::string model = flash();
  const Json split = fit({model, "--vram", "80GiB,80GiB,80GiB", "--tensor-split", "2,1,1", "-ngl", "40", "-c", "4096"});
  EXPECT_EQ(split["host"]["n_layers"], 7);
  EXPECT_EQ(split["devices"][0]["first_layer"], 7);
  EXPECT_EQ(split["devices"][0]["n_layers"], 20);
  EXPECT_EQ(split["devices"][2]["n_layers"], 10);
  // Ranges that were chosen by memory are met by numbers of layers.
  const Json chosen = fit({model, "--vram", "24GiBx2,48GiB", "-c", "4096"});
  std::string counts;
  for (const Json& device : chosen["devices"]) counts += std::to_string(device["n_layers"].get<int>()) + ",";
  counts.pop_back();
  const Json again = fit({model, "--vram", "24GiBx2,48GiB", "-c", "4096", "-ts", counts});
  EXPECT_EQ(again["devices"], chosen["devices"]);
  // Sums of parts are those of the whole.
  const Json whole = fit({model, "--vram", "96GiB", "-c", "4096"});
  for (const char* what : {"weights", "cache"}) {
    EXPECT_EQ(sum(chosen, what), sum(whole, what));
    EXPECT_EQ(sum(split, what), sum(whole, what));
  }
}

TEST_F(Fit, SaysWhatWould) {
  const std::string model = flash();
  const Json report = fit({model, "--vram", "24GiB", "-c", "8192"});
  EXPECT_EQ(report["fits"], false);
  EXPECT_EQ(report["largest_context"], 0);
  const int64_t n = report["most_layers"].get<int64_t>();
  ASSERT_GT(n, 0);
  EXPECT_EQ(fit({model, "--vram", "24GiB", "-c", "8192", "-ngl", std::to_string(n)})["fits"], true);
  EXPECT_EQ(fit({model, "--vram", "24GiB", "-c", "8192", "-ngl", std::to_string(n + 1)})["fits"], false);
  const CommandResult result = run({"fit", model, "--vram", "24GiB", "-c", "8192"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.out.find("It does not fit. With " + std::to_string(n) + " of 47 layers"), std::string::npos)
      << result.out;
}

// Before the planned file is made as after.
TEST_F(Fit, OfAPlanIsThatOfTheQuantizedFile) {
  const std::string model = golden("imatrix/deepseek2_k256/model.gguf");
  std::ofstream(folder_ / "own.plan") << "ffn_down = Q8_0\n* = Q4_K\n";
  for (const std::vector<std::string>& source :
       {std::vector<std::string>{"--preset", "Q4_K_M"}, {"--plan", folder_ / "own.plan"}, {"Q8_0"}, {"15"}}) {
    std::vector<std::string> quantize = {"quantize", model, folder_ / "quantized.gguf"};
    quantize.insert(quantize.end(), source.begin(), source.end());
    ASSERT_EQ(run(quantize).exit_code, 0);
    std::vector<std::string> planned = {model, "--vram", "1GiBx2", "-c", "128"};
    planned.insert(planned.end(), source.begin(), source.end());
    Json before = fit(planned), after = fit({folder_ / "quantized.gguf", "--vram", "1GiBx2", "-c", "128"});
    EXPECT_NE(sum(before, "weights"), sum(fit({model, "--vram", "1GiBx2", "-c", "128"}), "weights"));
    EXPECT_EQ(before["plan"], source.back() == "15" ? "Q4_K_M" : source.back());
    EXPECT_EQ(after["plan"], "");
    for (Json* report : {&before, &after}) {
      report->erase("model");
      report->erase("plan");
    }
    EXPECT_EQ(before, after) << source.back();
  }
  EXPECT_NE(run({"fit", model, "--vram", "1GiB", "Q8_0"}).out.find("as Q8_0 would make it"), std::string::npos);
}

TEST_F(Fit, ABareNumberLacksAUnit) {
  const std::string model = golden("models/llama/model.gguf");
  for (const std::string vram : {"24", "24x2", "24GiB,24"}) {
    const CommandResult result = run({"fit", model, "--vram", vram});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.err, "steelyard: --vram " + vram + ": 24 bytes? Give a unit: 24GiB\n");
  }
  EXPECT_EQ(run({"fit", model, "--vram", "25769803776"}).exit_code, 0);
}

TEST_F(Fit, Refuses) {
  const std::string model = golden("models/llama/model.gguf");
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{model},
                                                    {model, "--vram", "lots"},
                                                    {model, "--vram", "24GiB", "-c", "0"},
                                                    {model, "--vram", "24GiB", "-c", "999999999"},
                                                    {model, "--vram", "24GiB", "-ctk", "iq2_s"},
                                                    {model, "--vram", "24GiB", "-ctk", "no"},
                                                    {model, "--vram", "24GiBx2", "--tensor-split", "1"},
                                                    {model, "--vram", "24GiBx2", "--tensor-split", "0,0"},
                                                    {model, "--vram", "24GiB", "--reserve", "?"},
                                                    {model, "--vram", "24GiB", "-ngl", "-1"},
                                                    {model, "--vram", "24GiB", "--preset", "no"},
                                                    {model, "--vram", "24GiB", "--plan", "/nonexistent.plan"},
                                                    {model, "--vram", "24GiB", "--pure"},
                                                    {model, "--vram", "24GiB", "--imatrix", "/nonexistent.gguf"},
                                                    {"/nonexistent.gguf", "--vram", "24GiB"}}) {
    std::vector<std::string> command = {"fit"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    const CommandResult result = run(command);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.out, "");
    EXPECT_TRUE(is_one_line(result.err)) << result.err;
  }
}

// A header proves none of its numbers: whatever they are, an answer or one line.
TEST_F(Fit, AnyNumbers) {
  ModelCopy copy(golden("models/llama/model.gguf"));
  for (const char* key : {"llama.context_length", "llama.attention.head_count_kv", "llama.attention.key_length",
                          "llama.attention.head_count", "llama.embedding_length", "llama.rope.dimension_count"}) {
    for (const uint32_t value : {0u, 1u, 65536u, 2147483647u}) {
      ModelCopy changed = copy;
      changed.metadata.set_integer(key, value);
      changed.save(folder_ / "changed.gguf");
      const CommandResult result = run({"fit", folder_ / "changed.gguf", "--vram", "1TiBx3", "--json"});
      EXPECT_EQ(result.signal, 0) << key << " " << value;
      if (result.exit_code == 0) {
        EXPECT_TRUE(Json::accept(result.out));
      } else {
        EXPECT_TRUE(is_one_line(result.err)) << result.err;
      }
    }
  }
}

}  // namespace
}  // namespace steelyard::test
