#include "imatrix/matching.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/text_hash.h"

namespace steelyard::imatrix {
namespace {

// Matrices of one layer that read the same input, by what their names have before ".weight", whatever the architecture:
// a layer has some of them.
constexpr std::string_view kReaders[][18] = {
    {"attn_q", "attn_k", "attn_v", "attn_qkv", "attn_gate", "attn_q_a", "attn_kv_a_mqa", "ssm_in", "ssm_ba", "ssm_beta",
     "ssm_alpha", "ssm_f_a", "ssm_g_a", "ssm_g", "indexer.attn_k", "indexer.proj", "indexer.q_proj", "indexer.k_proj"},
    {"attn_q_b", "indexer.attn_q_b"},
    {"ffn_gate", "ffn_up", "ffn_gate_up"},
    {"ffn_gate_exps", "ffn_up_exps", "ffn_gate_up_exps"},
    {"ffn_gate_shexp", "ffn_up_shexp", "ffn_gate_up_shexp", "ffn_latent_down", "ffn_routed_down"},
    {"ffn_gate_chexps", "ffn_up_chexps", "ffn_gate_up_chexps"},
};
constexpr std::string_view kWeight = ".weight";

// The names of all matrices that would read the input of the one called `name`, without itself.
std::vector<std::string> readers_beside(std::string_view name) {
  std::vector<std::string> names;
  if (!name.ends_with(kWeight)) return names;
  const std::string_view whole = name.substr(0, name.size() - kWeight.size());
  const size_t dot = whole.rfind('.');
  const std::string_view layer = dot == whole.npos ? "" : whole.substr(0, dot + 1), own = whole.substr(layer.size());
  for (const auto& group : kReaders) {
    if (std::ranges::find(group, own) == std::end(group)) continue;
    for (const std::string_view reader : group) {
      if (reader.empty() || reader == own) continue;
      names.push_back(std::string(layer).append(reader).append(kWeight));
    }
    break;
  }
  return names;
}

bool saw_input(const ImatrixEntry& entry) {
  return std::ranges::any_of(entry.counts, [](int64_t count) { return count > 0; });
}

// Sums of one input are equal but for rounding, in files and in batches.
bool are_of_one_input(const ImatrixEntry& a, const ImatrixEntry& b) {
  constexpr double kRounding = 1e-2;
  if (a.n_in != b.n_in || a.n_expert != b.n_expert || a.counts != b.counts) return false;
  double sum = 0, difference = 0;
  for (size_t i = 0; i < a.in_sum2.size(); ++i) {
    sum += a.in_sum2[i];
    difference += std::abs(a.in_sum2[i] - b.in_sum2[i]);
  }
  return difference <= kRounding * sum;
}

// The entry of another matrix that has the importance of `tensor`; none where there is none that saw an input.
std::optional<std::string> entry_of_same_input(const Imatrix& imatrix, const gguf::TensorInfo& tensor) {
  std::optional<std::string> found;
  for (std::string& name : readers_beside(tensor.name)) {
    const auto other = imatrix.entries.find(name);
    if (other == imatrix.entries.end() || !other->second.shared_from.empty()) continue;
    if (!fits(other->second, tensor) || !saw_input(other->second)) continue;
    if (!found)
      found = std::move(name);
    else if (!are_of_one_input(imatrix.entries.at(*found), other->second))
      return std::nullopt;
  }
  return found;
}

}  // namespace

void match(Imatrix& imatrix, std::span<const gguf::TensorInfo> tensors) {
  std::unordered_set<std::string_view, TextHash> names;
  for (const gguf::TensorInfo& tensor : tensors) names.insert(tensor.name);
  imatrix.strangers.clear();
  for (const auto& [name, entry] : imatrix.entries) {
    const auto is_there = [&](const std::string& reader) { return names.contains(reader); };
    if (!is_there(name) && std::ranges::none_of(readers_beside(name), is_there)) imatrix.strangers.push_back(name);
  }
  for (const gguf::TensorInfo& tensor : tensors) {
    const auto own = imatrix.entries.find(tensor.name);
    if (own != imatrix.entries.end() && saw_input(own->second)) continue;
    const std::optional<std::string> name = entry_of_same_input(imatrix, tensor);
    if (!name) continue;
    ImatrixEntry shared = imatrix.entries.at(*name);
    shared.shared_from = *name;
    imatrix.entries.insert_or_assign(tensor.name, std::move(shared));
  }
}

Imatrix load_for(const std::string& path, std::span<const gguf::TensorInfo> tensors) {
  Imatrix imatrix = Imatrix::load(path);
  match(imatrix, tensors);
  return imatrix;
}

}  // namespace steelyard::imatrix
