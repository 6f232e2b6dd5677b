#include "llama_flags.h"

#include <gmock/gmock.h>

namespace steelyard::tools {
namespace {

using testing::ElementsAre;

TEST(LlamaFlags, LettersBehindOneDash) {
  EXPECT_THAT(from_llama({"run", "-ngl", "99", "-ts", "1,1", "-ctk", "q8_0", "-ctv", "q8_0"}),
              ElementsAre("run", "--gpu-layers", "99", "--tensor-split", "1,1", "--cache-type-k", "q8_0",
                          "--cache-type-v", "q8_0"));
}

TEST(LlamaFlags, WhatChangesNothingIsDropped) {
  EXPECT_THAT(from_llama({"run", "-fa", "on", "m.gguf"}), ElementsAre("run", "m.gguf"));
  EXPECT_THAT(from_llama({"run", "-fa", "m.gguf"}), ElementsAre("run", "m.gguf"));
  EXPECT_THAT(from_llama({"run", "--flash-attn=off", "--no-mmap", "m.gguf"}), ElementsAre("run", "m.gguf"));
  EXPECT_THAT(from_llama({"imatrix", "--no-ppl", "--output-frequency", "10", "-ofreq", "5", "-m", "a"}),
              ElementsAre("imatrix", "-m", "a"));
}

TEST(LlamaFlags, OthersStayWhereTheyMeanSomethingElse) {
  EXPECT_THAT(from_llama({"perplexity", "--no-ppl"}), ElementsAre("perplexity", "--no-ppl"));
  EXPECT_THAT(from_llama({"run", "--", "-ngl"}), ElementsAre("run", "--", "-ngl"));
}

TEST(LlamaFlags, ThreadsBehindTheType) {
  EXPECT_THAT(from_llama({"quantize", "in", "out", "Q4_K_M", "8"}),
              ElementsAre("quantize", "in", "out", "Q4_K_M", "--threads", "8"));
  EXPECT_THAT(from_llama({"quantize", "--pure", "in", "out", "Q4_K_M", "8"}),
              ElementsAre("quantize", "--pure", "in", "out", "Q4_K_M", "--threads", "8"));
  EXPECT_THAT(from_llama({"quantize", "in", "q4_k_m", "8"}), ElementsAre("quantize", "in", "q4_k_m", "--threads", "8"));
  EXPECT_THAT(from_llama({"quantize", "--imatrix", "x", "in", "out", "15", "8"}),
              ElementsAre("quantize", "--imatrix", "x", "in", "out", "15", "--threads", "8"));
  // The number is a type.
  EXPECT_THAT(from_llama({"quantize", "--imatrix", "x", "in", "out", "15"}),
              ElementsAre("quantize", "--imatrix", "x", "in", "out", "15"));
  EXPECT_THAT(from_llama({"quantize", "in", "out", "15"}), ElementsAre("quantize", "in", "out", "15"));
  EXPECT_THAT(from_llama({"quantize", "in", "out", "Q8_0", "--chunks", "8"}),
              ElementsAre("quantize", "in", "out", "Q8_0", "--chunks", "8"));
}

}  // namespace
}  // namespace steelyard::tools
