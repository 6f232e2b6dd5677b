#include "huggingface/recipe.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <unordered_map>

#include "base/error.h"
#include "base/text_hash.h"

namespace steelyard::huggingface {
namespace {

// A tensor's name with its numbers taken out: "model.layers.{}.mlp.experts.{}.up_proj.weight", [3, 17].
struct Pattern {
  std::string text;
  std::vector<int64_t> numbers;
};

constexpr int64_t kMostNumber = 1'000'000;  // of blocks or experts

bool is_number(std::string_view part) {
  return !part.empty() && part.size() <= 6 && std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
}

// Qwen's blocks for prediction have names of their own. They are numbered after the layers.
std::string numbered(std::string name, int64_t n_layers) {
  if (name.starts_with("model.mtp.")) name.erase(0, std::string_view("model.").size());
  if (!name.starts_with("mtp.")) return name;
  name.erase(0, std::string_view("mtp.").size());
  const std::string first = fmt::format("model.layers.{}.", n_layers);
  constexpr std::string_view kLayers = "layers.";
  if (name.starts_with(kLayers)) {
    const size_t end = std::min(name.find('.', kLayers.size()), name.size());
    const std::string_view number = std::string_view(name).substr(kLayers.size(), end - kLayers.size());
    if (!is_number(number)) return name;
    return fmt::format("model.layers.{}{}", n_layers + std::stoll(std::string(number)), name.substr(end));
  }
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {{"fc.", "eh_proj."},
                                                                      {"pre_fc_norm_embedding.", "enorm."},
                                                                      {"pre_fc_norm_hidden.", "hnorm."},
                                                                      {"norm.", "shared_head.norm."}};
  for (const auto& [from, to] : kNames) {
    if (name.starts_with(from)) return first + std::string(to) + name.substr(from.size());
  }
  return first + name;
}

// Models with towers call the text's part so; older classes leave "model" out.
Pattern pattern_of(std::string name, int64_t n_layers) {
  constexpr std::string_view kText = "language_model.";
  for (size_t at = name.find(kText); at != std::string::npos; at = name.find(kText)) name.erase(at, kText.size());
  name = numbered(std::move(name), n_layers);
  if (name.starts_with("layers.") || name.starts_with("embed_tokens.") || name.starts_with("norm."))
    name.insert(0, "model.");
  Pattern pattern;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view part = std::string_view(name).substr(begin, end - begin);
    if (begin > 0) pattern.text += '.';
    if (is_number(part)) {
      pattern.numbers.push_back(std::stoll(std::string(part)));
      pattern.text += "{}";
    } else {
      pattern.text += part;
    }
    begin = end + 1;
  }
  return pattern;
}

// Towers for images and sound, and what leads from them to the text.
bool is_of_tower(std::string_view name) {
  constexpr std::string_view kParts[] = {"visual.",      "vision_",       "vision.",     "audio_",     "audio.",
                                         "projector.",   "mm_projector",  "patch_embed", "patch_merg", "embed_vision.",
                                         "embed_audio.", "image_newline", "multi_modal", "vit."};
  return std::ranges::any_of(kParts, [&](std::string_view part) { return name.find(part) != std::string_view::npos; });
}

bool is_always_f32(std::string_view name) {
  constexpr std::string_view kEnds[] = {"ffn_gate_inp.weight",   "ffn_gate_inp_shexp.weight", "ssm_conv1d.weight",
                                        "ssm_conv1d_q.weight",   "ssm_conv1d_k.weight",       "ssm_conv1d_v.weight",
                                        "shortconv.conv.weight", "indexer.proj.weight",       "_norm.weight"};
  return !name.ends_with(".weight") ||
         std::ranges::any_of(kEnds, [&](std::string_view end) { return name.ends_with(end); });
}

std::string filled(std::string_view to, std::span<const int64_t> numbers) {
  const size_t at = to.find("{}");
  if (at == std::string_view::npos) return std::string(to);
  return std::string(to.substr(0, at)) + std::to_string(numbers.empty() ? 0 : numbers[0]) +
         std::string(to.substr(at + 2));
}

std::string tensors(int64_t n) { return fmt::format("{} tensor{}", n, n == 1 ? "" : "s"); }

// What a tensor of GGUF is made of, while tensors of the checkpoint are gone through.
struct Draft {
  int64_t block = 0;  ///< -1: before all blocks
  size_t place = 0;   ///< of its rule
  float (*changed)(float) = nullptr;
  bool stacks = false;
  std::map<std::pair<int64_t, size_t>, View> parts;  ///< by expert, and by rule
};

class Cook {
 public:
  Cook(const Architecture& architecture, const Config& config, std::span<const std::unique_ptr<StoredWeight>> weights,
       const std::function<std::string(const StoredTensor&)>& where)
      : architecture_(architecture), config_(config), weights_(weights), where_(where) {
    size_t place = 0;
    for (const std::span<const TensorRule> list : architecture.rules) {
      std::unordered_map<std::string_view, std::vector<const TensorRule*>, TextHash> of_list;
      for (const TensorRule& rule : list) {
        of_list[rule.from].push_back(&rule);
        places_.emplace(&rule, place++);
      }
      for (auto& [from, rules] : of_list) rules_.try_emplace(from, std::move(rules));
    }
  }

  Recipes make() {
    Recipes result;
    result.n_layers = config_.integer({"num_hidden_layers", "n_layers", "n_layer", "num_layers"});
    result.n_blocks = result.n_layers;
    const bool tied = config_.optional_boolean({"tie_word_embeddings"}).value_or(false);
    int64_t n_tower = 0, n_left_out = 0;
    for (const auto& weight : weights_) {
      const Pattern pattern = pattern_of(weight->name(), result.n_layers);
      if (is_of_tower(weight->name())) {
        ++n_tower;
        continue;
      }
      if (tied && pattern.text == "lm_head.weight") continue;
      const int64_t block = pattern.text.starts_with("model.layers.{}") ? pattern.numbers.front() : -1;
      if (block >= result.n_layers && !architecture_.has_prediction) {
        ++n_left_out;
        continue;
      }
      result.n_blocks = std::max(result.n_blocks, block + 1);
      take(*weight, pattern, block);
    }
    if (n_tower > 0) {
      result.notes.push_back(
          fmt::format("{} of towers for images or sound {} left out", tensors(n_tower), n_tower == 1 ? "is" : "are"));
    }
    if (n_left_out > 0) {
      result.notes.push_back(fmt::format("{} of blocks after the last layer {} left out: {} models predict no further",
                                         tensors(n_left_out), n_left_out == 1 ? "is" : "are", architecture_.name));
    }
    finish(result);
    return result;
  }

 private:
  template <typename... Args>
  [[noreturn]] void reject(const StoredWeight& weight, fmt::format_string<Args...> format, Args&&... args) const {
    fail(where_(weight.tensor()), "tensor '{}': {}", printable(weight.name()),
         fmt::format(format, std::forward<Args>(args)...));
  }

  void take(const StoredWeight& weight, const Pattern& pattern, int64_t block) {
    const auto rules = rules_.find(pattern.text);
    if (rules == rules_.end()) reject(weight, "{} models have no such tensor here", architecture_.name);
    for (const TensorRule* rule : rules->second) {
      if (rule->to.empty()) continue;
      Draft& draft = drafts_[filled(rule->to, pattern.numbers)];
      draft.block = block;
      const size_t place = places_.at(rule);
      draft.place = draft.parts.empty() ? place : std::min(draft.place, place);
      draft.changed = rule->changed;
      draft.stacks = pattern.numbers.size() > 1;
      const int64_t expert = draft.stacks ? pattern.numbers[1] : 0;
      const View whole(weight);
      const View arranged = rule->arranged != nullptr ? rule->arranged(whole, config_) : whole;
      if (!draft.parts.emplace(std::pair(expert, place), arranged).second)
        reject(weight, "found a second time, by another name");
    }
  }

  void finish(Recipes& result) {
    std::vector<std::pair<std::string_view, const Draft*>> order;
    for (const auto& [name, draft] : drafts_) order.emplace_back(name, &draft);
    // The embedding, blocks, and what follows them.
    const auto rank = [&](const auto& entry) {
      const auto& [name, draft] = entry;
      const int64_t block = draft->block >= 0 ? draft->block : name.starts_with("token_embd") ? -1 : kMostNumber;
      return std::tuple(block, draft->place, name);
    };
    std::ranges::sort(order, {}, rank);
    for (const auto& [name, draft] : order) add(std::string(name), *draft, result);
    if (architecture_.generate == nullptr) return;
    for (GeneratedTensor& tensor : architecture_.generate(config_)) {
      Recipe& recipe = result.recipes.emplace_back();
      recipe.info.name = tensor.name;
      recipe.info.n_dims = 1;
      recipe.info.ne[0] = std::ssize(tensor.values);
      recipe.values = std::move(tensor.values);
      set_type(recipe, formats::Type::F32);
    }
  }

  void add(std::string name, const Draft& draft, Recipes& result) {
    const View& first = draft.parts.begin()->second;
    std::vector<int64_t> shape = first.shape();
    const auto inner = [](std::vector<int64_t> whole) { return std::vector<int64_t>(whole.begin() + 1, whole.end()); };
    if (!draft.stacks) {
      shape.front() = 0;
      for (const auto& [place, view] : draft.parts) shape.front() += view.shape().front();
    }
    if (draft.stacks) {
      const int64_t n = draft.parts.rbegin()->first.first + 1;
      if (n != std::ssize(draft.parts))
        reject(first.weight(), "found {} experts, expected all from 0 to {}", draft.parts.size(), n - 1);
      const auto said = config_.optional_integer({"num_local_experts", "num_experts", "n_routed_experts"});
      if (said && *said != n) reject(first.weight(), "found {} experts, expected {}", n, *said);
      shape.insert(shape.begin(), n);
    }
    if (shape.size() > gguf::kMaxDims) reject(first.weight(), "found {} dimensions, expected at most 4", shape.size());
    Recipe recipe;
    recipe.info.name = std::move(name);
    recipe.info.n_dims = static_cast<int>(shape.size());
    std::copy(shape.rbegin(), shape.rend(), recipe.info.ne.begin());
    recipe.changed = draft.changed;
    formats::Type type = first.weight().type();
    int64_t n_values = 0;
    for (const auto& [place, view] : draft.parts) {
      const std::vector<int64_t> of_part = view.shape();
      if (draft.stacks ? of_part != first.shape() : inner(of_part) != inner(first.shape()))
        reject(view.weight(), "found shape {}, expected {} as its neighbours have", shape_string(view.shape()),
               shape_string(first.shape()));
      if (view.weight().type() != type) type = formats::Type::F32;
      recipe.parts.push_back(view);
      recipe.begins.push_back(n_values);
      n_values += std::accumulate(of_part.begin(), of_part.end(), int64_t{1}, std::multiplies());
    }
    recipe.begins.push_back(n_values);
    if (recipe.info.n_dims <= 1 || is_always_f32(recipe.info.name) || !keeps_blocks(recipe, type))
      type = formats::Type::F32;
    set_type(recipe, type);
    std::vector<float> factors;
    if (type == first.weight().type() && first.weight().has_factor()) {
      for (const View& view : recipe.parts) factors.push_back(view.weight().factor());
    }
    const std::string stem = recipe.info.name.substr(0, recipe.info.name.rfind('.'));
    result.recipes.push_back(std::move(recipe));
    if (factors.empty()) return;
    Recipe& scale = result.recipes.emplace_back();
    scale.info.name = stem + ".scale";
    scale.info.n_dims = 1;
    scale.info.ne[0] = std::ssize(factors);
    scale.values = std::move(factors);
    set_type(scale, formats::Type::F32);
  }

  // Whether a type with blocks can hold the views: each block is one of the weight.
  static bool keeps_blocks(const Recipe& recipe, formats::Type type) {
    const int64_t n = format(type).block_len;
    if (n == 1) return format(type).decode != nullptr;  // integers become floats
    return recipe.changed == nullptr && std::ranges::all_of(recipe.parts, [&](const View& view) {
             bool whole = view.run().step == 1 && view.run().count % n == 0;
             for (int64_t i = 0; whole && i < std::min<int64_t>(view.n_runs(), 2); ++i)
               whole = view.run_begin(i) % n == 0;
             return whole;
           });
  }

  void set_type(Recipe& recipe, formats::Type type) const {
    recipe.info.type = type;
    const auto bytes = gguf::tensor_bytes(format(type), recipe.info.ne);
    if (!bytes)
      fail(config_.path(), "tensor '{}': found shape {}, which is too large or does not divide into blocks",
           printable(recipe.info.name), gguf::shape_string(recipe.info));
    recipe.info.n_bytes = *bytes;
  }

  const Architecture& architecture_;
  const Config& config_;
  std::span<const std::unique_ptr<StoredWeight>> weights_;
  const std::function<std::string(const StoredTensor&)>& where_;
  std::unordered_map<std::string_view, std::vector<const TensorRule*>, TextHash> rules_;
  std::map<const TensorRule*, size_t> places_;
  std::map<std::string, Draft> drafts_;
};

}  // namespace

Recipes make_recipes(const Architecture& architecture, const Config& config,
                     std::span<const std::unique_ptr<StoredWeight>> weights,
                     const std::function<std::string(const StoredTensor&)>& where) {
  return Cook(architecture, config, weights, where).make();
}

}  // namespace steelyard::huggingface
