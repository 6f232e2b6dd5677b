// Any text as a plan and as a list of rules, and resolved for a small model: every tensor gets a type, and the plan
// printed reads back as itself.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/target.h"
#include "plan/findings.h"
#include "plan/plan.h"
#include "plan/resolve.h"

namespace steelyard::plan {
namespace {

using fuzz::allow_errors, fuzz::g_sink;

gguf::TensorInfo tensor(const std::string& name, int64_t n_in, int64_t n_out = 0, int64_t n_slices = 1) {
  gguf::TensorInfo info;
  info.name = name;
  info.n_dims = n_out == 0 ? 1 : n_slices > 1 ? 3 : 2;
  info.ne = {n_in, std::max<int64_t>(n_out, 1), n_slices, 1};
  info.type = formats::Type::F32;
  info.n_bytes = *gguf::tensor_bytes(format(info.type), info.ne);
  return info;
}

// Of each kind of tensor one: in layers with and without experts, with rows that divide into blocks of 256, of 32, and
// into none.
const std::vector<gguf::TensorInfo>& model() {
  static const std::vector<gguf::TensorInfo> tensors = [] {
    std::vector<gguf::TensorInfo> all = {tensor("token_embd.weight", 256, 300), tensor("output.weight", 256, 300),
                                         tensor("output_norm.weight", 256)};
    for (int layer = 0; layer < 4; ++layer) {
      const std::string block = "blk." + std::to_string(layer) + ".";
      all.push_back(tensor(block + "attn_norm.weight", 256));
      all.push_back(tensor(block + "attn_q.weight", 256, 128));
      all.push_back(tensor(block + "attn_v.weight", 256, 64));
      all.push_back(tensor(block + "attn_output.weight", 96, 256));
      if (layer == 0) {
        all.push_back(tensor(block + "ffn_down.weight", 100, 256));
      } else {
        all.push_back(tensor(block + "ffn_gate_inp.weight", 256, 4));
        all.push_back(tensor(block + "ffn_down_exps.weight", 512, 256, 4));
        all.push_back(tensor(block + "ffn_up_shexp.weight", 256, 512));
      }
    }
    return all;
  }();
  return tensors;
}

void use_plan(const Plan& plan) {
  const Facts facts{.imatrix = true, .gqa = 4, .experts = 4};
  allow_errors([&] {
    const Resolution resolution = resolve(plan, model(), facts);
    STEELYARD_CHECK(resolution.decisions.size() == model().size());
    uint64_t total = 0;
    for (const Decision& decision : resolution.decisions) {
      STEELYARD_CHECK(decision.tensor->ne[0] % format(decision.type).block_len == 0);
      total += decision.bytes;
    }
    STEELYARD_CHECK(total == resolution.total_bytes && resolution.by_layer().size() == model().size());
    const std::vector<Finding> found = findings(resolution);
    for (const Finding& finding : found) {
      STEELYARD_CHECK(!finding.subjects.empty() && describe(finding).find('\n') == std::string::npos);
    }
    refuse(found, /*strict=*/true, "fuzz");
  });
  // Of a rule that another replaced, the text does not tell.
  const std::string text = plan.text();
  const Plan again = Plan::parse(text, "again");
  STEELYARD_CHECK(again.text() == text && again.rules().size() == plan.rules().size());
}

}  // namespace
}  // namespace steelyard::plan

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace steelyard;
  const std::string_view text = fuzz::as_text(data, size);
  fuzz::allow_errors([&] { plan::use_plan(plan::Plan::parse(text, "fuzz")); });
  fuzz::allow_errors([&] {
    std::vector<plan::PlanRule> rules = plan::Plan::parse_rule_list(text, "fuzz");
    plan::Plan base = plan::Plan::parse("* = Q4_K\nattn_v = Q6_K\n", "base");
    base.prepend(std::move(rules));
    plan::use_plan(base);
  });
  return 0;
}
