// See pretokenizer_steps.h.
#include "huggingface/pretokenizer_steps.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/published_patterns.h"

namespace steelyard::huggingface {
namespace {

using json::Json;

std::string text(const Json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

bool flag(const Json& object, const char* key, bool absent) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() ? found->get<bool>() : absent;
}

const Json& member(const Json& object, const char* key) {
  static const Json kNone;
  if (!object.is_object()) return kNone;
  const auto found = object.find(key);
  return found == object.end() ? kNone : *found;
}

std::string split_step(const Json& step) {
  const Json& pattern = member(step, "pattern");
  const std::string regex = text(pattern, "Regex"), behavior = text(step, "behavior");
  const bool invert = flag(step, "invert", false);
  // Patterns that match all of a text give the same pieces whether matches or what is between them is taken.
  const bool pieces = (behavior == "Isolated" && !invert) || (behavior == "Removed" && invert);
  if (!regex.empty() && pieces) return regex;
  return fmt::format("Split {}{} {}", behavior, invert ? " inverted" : "",
                     regex.empty() ? "'" + text(pattern, "String") + "'" : regex);
}

void append_steps(const Json& step, std::vector<std::string>& steps) {
  if (step.is_null()) return;
  const std::string type = text(step, "type");
  if (type == "Sequence") {
    for (const Json& part : member(step, "pretokenizers")) append_steps(part, steps);
  } else if (type == "Split") {
    steps.push_back(split_step(step));
  } else if (type == "Digits") {
    steps.push_back(flag(step, "individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)");
  } else if (type == "Punctuation") {
    steps.push_back("Punctuation " + text(step, "behavior"));
  } else if (type == "ByteLevel") {
    if (flag(step, "add_prefix_space", false)) steps.push_back("ByteLevel with a space before the text");
    if (flag(step, "use_regex", true)) steps.emplace_back(tokenizer::kByteLevelPattern);
  } else {
    steps.push_back(type.empty() ? "a step without a type" : type);
  }
}

void append_normalizers(const Json& step, std::vector<std::string>& steps) {
  if (step.is_null()) return;
  const std::string type = text(step, "type");
  if (type == "Sequence") {
    for (const Json& part : member(step, "normalizers")) append_normalizers(part, steps);
  } else if (type == "Replace") {
    const Json& pattern = member(step, "pattern");
    const std::string from = text(pattern, "String");
    steps.push_back(
        fmt::format("Replace '{}' by '{}'", from.empty() ? text(pattern, "Regex") : from, text(step, "content")));
  } else if (type == "Prepend") {
    steps.push_back(fmt::format("Prepend '{}'", text(step, "prepend")));
  } else {
    steps.push_back(type.empty() ? "a step without a type" : type);
  }
}

// Of a Metaspace, wherever it stands; null if there is none.
const Json* metaspace(const Json& step) {
  if (text(step, "type") == "Metaspace") return &step;
  for (const Json& part : member(step, "pretokenizers")) {
    if (const Json* const found = metaspace(part)) return found;
  }
  return nullptr;
}

std::string quoted(const std::vector<std::string>& steps) {
  std::vector<std::string> parts;
  for (const std::string& step : steps) parts.push_back("'" + printable(step, 400) + "'");
  return parts.empty() ? "no step" : fmt::format("{}", fmt::join(parts, ", then "));
}

}  // namespace

std::vector<std::string> pretokenizer_steps(const Json& pre_tokenizer) {
  std::vector<std::string> steps;
  append_steps(pre_tokenizer, steps);
  return steps;
}

std::vector<std::string> normalizer_steps(const Json& normalizer) {
  std::vector<std::string> steps;
  append_normalizers(normalizer, steps);
  return steps;
}

bool adds_space_prefix(const TokenizerJson& tokenizer) {
  const std::vector<std::string> steps = normalizer_steps(tokenizer.normalizer);
  if (std::ranges::any_of(steps, [](const std::string& step) { return step.starts_with("Prepend "); })) return true;
  const Json* const spaces = metaspace(tokenizer.pre_tokenizer);
  if (spaces == nullptr) return false;
  const std::string scheme = text(*spaces, "prepend_scheme");
  return scheme.empty() ? flag(*spaces, "add_prefix_space", true) : scheme != "never";
}

std::string recognised_pretokenizer(const TokenizerJson& tokenizer, const std::string& where) {
  const std::string known = fmt::format("{}", fmt::join(tokenizer::Pretokenizer::names(), ", "));
  for (const std::string& step : normalizer_steps(tokenizer.normalizer)) {
    // Composed characters are what texts have anyway, and llama.cpp leaves others as they are.
    if (step == "NFC") continue;
    fail(where,
         "text is normalized by {} before it is split, which the runtime does not do; --pre {} takes it as it is",
         quoted({step}), "NAME");
  }
  tokenizer::PublishedPretokenizer published;
  published.steps = pretokenizer_steps(tokenizer.pre_tokenizer);
  published.ignore_merges = tokenizer.ignore_merges;
  published.has_token = [&](std::string_view token) {
    return std::ranges::any_of(tokenizer.added, [&](const AddedToken& added) { return added.text == token; });
  };
  if (const auto name = tokenizer::pretokenizer_name(published)) return std::string(*name);
  fail(where, "unknown pre-tokenizer: {}; name one that splits alike with --pre: {}", quoted(published.steps), known);
}

}  // namespace steelyard::huggingface
