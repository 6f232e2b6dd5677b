// What people read: the table and the summary.
#include "plan_report.h"

#include <gtest/gtest.h>

#include "plan/models.h"

namespace steelyard::tools {
namespace {

using plan::tensor;

struct Example {
  std::vector<gguf::TensorInfo> tensors = {
      tensor("token_embd.weight", {256, 1000}, formats::Type::BF16),
      tensor("blk.0.attn_norm.weight", {256}, formats::Type::F32),
      tensor("blk.0.attn_k_b.weight", {192, 8}, formats::Type::BF16),
      tensor("blk.0.attn_q.weight", {256, 8}, formats::Type::BF16),
      tensor("blk.0.ffn_up.weight", {256, 512}, formats::Type::BF16),
  };
  plan::Resolution resolution =
      resolve(plan::Plan::parse("attn_ = Q4_K\nupp = F16\nffn = Q8_0\ntoken = keep\n", "x.plan"), tensors);

  jobs::PlanResult plan() const { return jobs::describe(resolution, findings(resolution)); }
};

TEST(Report, TableShowsEveryDecision) {
  EXPECT_EQ(table(Example().plan()),
            "tensor                  shape        source  type                     bytes  rule\n"
            "token_embd.weight       [256, 1000]  BF16    BF16                   512,000  x.plan:4 `token`\n"
            "blk.0.attn_norm.weight  [256]        F32     F32                      1,024  kept: norm\n"
            "blk.0.attn_k_b.weight   [192, 8]     BF16    Q5_0 <- Q4_K fallback    1,056  x.plan:1 `attn_`\n"
            "blk.0.attn_q.weight     [256, 8]     BF16    Q4_K                     1,152  x.plan:1 `attn_`\n"
            "blk.0.ffn_up.weight     [256, 512]   BF16    Q8_0                   139,264  x.plan:3 `ffn`\n");
}

TEST(Report, SummaryAddsUpPerType) {
  EXPECT_EQ(summary(Example().plan()),
            "type  tensors  elements    bytes   share\n"
            "BF16        1   256,000  512,000  78.2 %\n"
            "Q8_0        1   131,072  139,264  21.3 %\n"
            "Q4_K        1     2,048    1,152   0.2 %\n"
            "Q5_0        1     1,536    1,056   0.2 %\n"
            "F32         1       256    1,024   0.2 %\n"
            "total: 5 tensors, 390,912 elements, 654,496 bytes = 0.001 GiB, 13.3942 bits per weight\n");
}

TEST(Report, FindingsAreLines) {
  EXPECT_EQ(findings_text(Example().plan().findings),
            "warning: rule matches no tensor: x.plan:2 `upp`\n"
            "warning: Q5_0 instead of Q4_K, whose blocks of 256 do not divide the rows: blk.0.attn_k_b.weight (rows of "
            "192)\n"
            "note: protected, so no rule changes it (norm): blk.0.attn_norm.weight\n");
}

TEST(Report, NamesFromFilesStayOnOneLine) {
  const gguf::TensorInfo info = tensor("a\nb\x1b[31m.weight", {256, 8}, formats::Type::BF16);
  const std::string text =
      table(jobs::describe(resolve(plan::Plan::uniform(formats::Type::Q4_K), std::span(&info, 1)), {}));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace steelyard::tools
