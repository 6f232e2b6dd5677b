#include "plan/pattern.h"

#include <algorithm>

#include "base/error.h"
#include "gguf/block_name.h"

namespace steelyard::plan {

void Layers::add(std::string_view tensor_name) {
  const std::optional<int64_t> layer = gguf::block_of(tensor_name);
  if (!layer) return;
  present.insert(*layer);
  count = std::max(count, *layer + 1);
}

Pattern::Pattern(const std::string& text, const std::string& where) : where_(where) {
  if (text.empty()) fail(where, "a rule needs a pattern before '='");
  size_t begin = 0;
  for (size_t brace = 0; (brace = text.find('{', brace)) != std::string::npos; ++brace) {
    // Directly after "blk." a brace opens a layer set; anywhere else it is RE2's repetition.
    const std::string_view before = std::string_view(text).substr(begin, brace - begin);
    if (!before.ends_with("blk.") && !before.ends_with("blk\\.")) continue;
    const size_t close = text.find('}', brace);
    if (close == std::string::npos) fail(where, "layer set without '}}' in `{}`", printable(text));
    sets_.push_back(LayerSet::parse(std::string_view(text).substr(brace + 1, close - brace - 1), where));
    pieces_.emplace_back(before);
    begin = close + 1;
    brace = close;
  }
  pieces_.push_back(text.substr(begin));
  compile({});
}

std::string Pattern::expression(const Layers& layers) const {
  std::string expression = pieces_[0];
  for (size_t i = 0; i < sets_.size(); ++i) {
    std::string members;
    for (const int64_t layer : layers.present) {
      if (!sets_[i].contains(layer, layers.count)) continue;
      members += fmt::format("{}{}", members.empty() ? "" : "|", layer);
    }
    // The word boundary keeps layer 1 from matching the start of 12. An empty set matches no character at all.
    expression += members.empty() ? "[^\\x00-\\x{10FFFF}]" : fmt::format("(?:{})\\b", members);
    expression += pieces_[i + 1];
  }
  return expression;
}

std::unique_ptr<RE2> Pattern::compile(const Layers& layers) const {
  RE2::Options options;
  options.set_log_errors(false);
  auto regex = std::make_unique<RE2>(expression(layers), options);
  if (!regex->ok()) fail(where_, "bad regular expression: {}", printable(regex->error()));
  return regex;
}

}  // namespace steelyard::plan
